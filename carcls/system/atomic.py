"""A file appears under its name whole or not at all, and stays there through a power cut."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carcls.errors import DiskFullError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_AWAY = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "EREMOTEIO", "ESTALE", "ETIMEDOUT", "ENOTCONN", "ENOLINK", "EHOSTDOWN", "EHOSTUNREACH"),
        *("ENETDOWN", "ENETUNREACH", "ENOENT", "ENOTDIR", "EISDIR", "ENODEV", "ENXIO", "EACCES", "EPERM", "EROFS"),
    )
    if hasattr(errno, name)
)
"""What the system says of a file, disk or network file system that is not there or refuses, and may come back."""
NOT_OFFERED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a filesystem answers that does not have the operation at all."""


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`, with its suffix, to write to; the file moves to `path` when the block ends well.

    After an error `path` is as it was and nothing is left beside it. The folder is made where it is missing, and the
    one above it. Raises DiskFullError where there is no room for it, and OSError where the disk refuses otherwise.
    """
    with naming_full_disk(path):
        # No more than two: where a file system is away, a whole tree would appear in its place.
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(exist_ok=True)
    # Not tempfile: its files are for their owner's eyes only, whatever the umask says.
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
    """`text` in UTF-8, its line ends as they are. Raises OSError where the disk refuses."""
    with published(path) as temporary:
        # surrogateescape: a folder may hold names that are no UTF-8, and they must be written too
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def is_full_disk(error: BaseException) -> bool:
    """True where the system said that a disk, or this user's share of it, has no room left."""
    return isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in _NO_ROOM)


def full_disk_behind(error: BaseException | None) -> OSError | None:
    """The full disk among an error and those that led to it; None where there is none."""
    while error is not None:
        if isinstance(error, OSError) and is_full_disk(error):
            return error
        error = error.__cause__ or error.__context__
    return None


def away_behind(error: BaseException | None) -> OSError | None:
    """The file that could not be reached among an error and those that led to it, or None.

    Such a fault may pass: a file that is being replaced, a network file system that is away, a folder that is closed.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _AWAY:
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turns the system's word for it into a DiskFullError that names the file and what is free there now."""
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
    """A file's content, or a folder's names, reach the disk before this returns.

    Some network shares and FUSE mounts sync no folders, and say so: that is passed over, for there is no other way to
    ask for it. Raises OSError naming the path where the disk refuses otherwise.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_OFFERED or not path.is_dir():
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)
