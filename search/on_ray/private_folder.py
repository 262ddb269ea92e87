"""A folder that nobody else may enter, for Ray's sockets and logs; those of drivers that were killed are cleared away.

Ray opens its own folders to all users of the machine, who could put other sockets and other code there.
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
"""As mkdtemp makes it of the prefix."""
_MARKER = "made-by-carsearch"
"""An empty file in each folder of ours: what has none is never cleared away, whatever its name."""
_LONGEST = 34
"""Characters: a socket's path ends at 107, and Ray hangs up to 73 below (`/ray/session_<time>_<pid>/sockets/...`)."""

_YOUNG_S = 60.0
"""A younger folder may be one whose owner has not locked it yet."""


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Below the folder for temporary files, or /tmp where that one's name is too long; gone with the block."""
    root = Path(tempfile.gettempdir())
    if len(os.fsencode(root)) + 1 + len(_PREFIX) + _RANDOM_CHARACTERS > _LONGEST:
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
    """Removes what drivers that were killed left: old, unmistakably ours, and locked by nobody."""
    for folder in root.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, or just gone
            if _is_ours(folder) and time.time() - folder.lstat().st_mtime > _YOUNG_S:
                with _locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """True for what `private_folder` made for this user, by all that it gives to a folder. Raises OSError."""
    status = folder.lstat()
    return (
        _NAME.fullmatch(folder.name) is not None
        and status.st_uid == os.getuid()
        and status.st_mode == stat.S_IFDIR | stat.S_IRWXU
        and stat.S_ISREG((folder / _MARKER).lstat().st_mode)
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder; the kernel lets go of it when this process ends, however it ends. Raises OSError if held."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
