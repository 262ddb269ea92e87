"""Atomic, durable writes: a file appears under its name complete or not at all, also after a power cut."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carcls.errors import DiskFullError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_UNREACHABLE = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "EREMOTEIO", "ESTALE", "ETIMEDOUT", "ENOTCONN", "ENOLINK", "EHOSTDOWN", "EHOSTUNREACH"),
        *("ENETDOWN", "ENETUNREACH", "ENOENT", "ENOTDIR", "EISDIR", "ENODEV", "ENXIO", "EACCES", "EPERM", "EROFS"),
    )
    if hasattr(errno, name)
)
"""Errors of a file, disk or network file system that is missing or unresponsive and may come back."""
UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of a file system that does not implement an operation."""


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`, with its suffix, to write to; the file moves to `path` when the block ends well.

    After an error `path` is unchanged and no temporary file remains. Creates the folder and its parent if missing.
    Raises DiskFullError if the disk is full, and OSError for other failures.
    """
    with naming_full_disk(path):
        # Not `parents=True`: if a file system is unmounted, that would create a whole tree in its place.
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(exist_ok=True)
    # Not tempfile: its files have mode 0600 regardless of the umask.
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    with naming_full_disk(path):
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, line endings unchanged. Raises OSError."""
    with published(path) as temporary:
        # surrogateescape: file names need not be valid UTF-8, and they must survive too
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def is_full_disk(error: BaseException) -> bool:
    """True if the disk, or this user's quota on it, is full."""
    return isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in _NO_ROOM)


def full_disk_cause(error: BaseException | None) -> OSError | None:
    """The full-disk error among an error and its causes, or None."""
    while error is not None:
        if isinstance(error, OSError) and is_full_disk(error):
            return error
        error = error.__cause__ or error.__context__
    return None


def unreachable_cause(error: BaseException | None) -> OSError | None:
    """The error of an unreachable file among an error and its causes, or None.

    Such a fault may be temporary: a file being replaced, a network file system that is down, changed permissions.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _UNREACHABLE:
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turns the system's full-disk error into a DiskFullError that names the file and the free space."""
    try:
        yield
    except OSError as error:
        if isinstance(error, DiskFullError) or not is_full_disk(error):
            raise
        there = next(folder for folder in path.absolute().parents if folder.exists())
        free_mb = shutil.disk_usage(there).free / 1e6
        raise DiskFullError(
            f"{path}: no room left on its disk ({error.strerror}; {free_mb:,.1f} MB free): free some space there"
        ) from error


def sync(path: Path) -> None:
    """Flushes a file's content, or a folder's entries, to disk.

    Some network shares and FUSE mounts cannot sync folders; their refusal is ignored, since there is no alternative.
    Raises OSError naming the path for any other failure.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED or not path.is_dir():
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)
