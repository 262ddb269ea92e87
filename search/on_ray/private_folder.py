"""A folder for Ray's sockets and logs that only this user may enter. Folders of killed drivers are deleted.

Ray opens its own folders to all users of the machine, who could place other sockets and code there.
"""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = ".carsearch-"
_RANDOM_CHARACTERS = 8
_NAME = re.compile(re.escape(_PREFIX) + rf"[a-z0-9_]{{{_RANDOM_CHARACTERS}}}")
"""The names that mkdtemp makes from the prefix."""
_MARKER = "made-by-carsearch"
"""An empty file in each folder that this module made. Folders without it are never deleted."""
_MAX_CHARACTERS = 34
"""A socket's path may have 107, and Ray appends up to 73 (`/ray/session_<time>_<pid>/sockets/...`)."""

_MIN_AGE_S = 60.0
"""Younger folders are kept: their owner may not have locked them yet."""


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder below the folder for temporary files, or below /tmp if that path is too long; deleted on exit."""
    root = Path(tempfile.gettempdir())
    if len(os.fsencode(root)) + 1 + len(_PREFIX) + _RANDOM_CHARACTERS > _MAX_CHARACTERS:
        root = Path("/tmp")  # noqa: S108 - mkdtemp makes the folder in it safely
    _clear_abandoned(root)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
    try:
        with _locked(folder):
            (folder / _MARKER).touch()
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear_abandoned(root: Path) -> None:
    """Deletes the folders of killed drivers: old, made by this module, and not locked."""
    for folder in root.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or just deleted
            if _is_ours(folder) and time.time() - folder.lstat().st_mtime > _MIN_AGE_S:
                with _locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """True if `private_folder` made it for this user: name, owner, mode and marker all match. Raises OSError."""
    status = folder.lstat()
    return (
        _NAME.fullmatch(folder.name) is not None
        and status.st_uid == os.getuid()
        and status.st_mode == stat.S_IFDIR | stat.S_IRWXU
        and stat.S_ISREG((folder / _MARKER).lstat().st_mode)
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Locks the folder; the kernel releases it when this process ends. Raises OSError if it is already locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
