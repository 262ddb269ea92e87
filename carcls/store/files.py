"""One artefact's file on disk: claim, write, map and remove.

A single lock on the file itself (flock(2)) is exclusive while the file is built and shared while it is open. The kernel
releases it when its last holder dies. A memory map keeps the descriptor, and thus the lock, as long as the array lives;
forked children share both. After getting a lock, a process checks that the file still has its name, and starts again if
it was published or removed in the meantime.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carcls.store.artefact import MAX_TRAILER_BYTES, Artefact, Trailer
from carcls.store.hashing import digest_of
from carcls.store.usage import BuildTimer, count_built, count_reused
from carcls.system import atomic

Opened = tuple[NDArray[Any], Trailer]

FINISHED = ".npy"
BUILDING = ".building"


def open_artefact(path: Path, artefact: Artefact) -> Opened | None:
    """A read-only map that holds the file open while it lives. None if the file is missing, truncated or different.

    Updates the file's times and counts the use. Raises OSError.
    """
    while True:
        try:
            file = FileIO(os.fspath(path))  # str, because np.memmap takes its file's name from it
        except FileNotFoundError:
            return None
        with file:
            fcntl.flock(file, fcntl.LOCK_SH)
            if not _is_current(file, path):  # replaced or removed while this process waited for the lock
                continue
            trailer = _check(file, artefact)
            if trailer is None:
                return None
            # Explicitly: file systems mounted noatime or relatime do not record reads, and maps are never recorded.
            with contextlib.suppress(PermissionError):  # another user's file is readable, but its times are not ours
                os.utime(file.fileno())
            opened = _map(file, artefact)
            count_reused(trailer.build_s)
            return opened, trailer


@contextlib.contextmanager
def claimed(path: Path, *, waiting: AbstractContextManager[None] | None) -> Iterator[FileIO | None]:
    """Claims the right to build the artefact at `path`: yields its empty, unfinished file.

    The file is removed if the block does not call `write`. Yields None if another process is building the artefact: at
    once, or with `waiting` after that build has ended, successfully or not, with that context entered meanwhile.
    """
    unfinished = path.with_suffix(BUILDING)
    with FileIO(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+") as file:
        is_free = _lock(file, wait=False)
        if not is_free and waiting is not None:
            with waiting:
                # Shared, although building is exclusive: once published, the file is locked by all of its readers.
                fcntl.flock(file, fcntl.LOCK_SH)
        if not is_free or not _is_current(file, unfinished):
            yield None
            return
        try:
            file.truncate(0)  # leftovers of a builder that died
            yield file
        finally:
            if _is_current(file, unfinished):
                unfinished.unlink()
                # An error's traceback, or a child forked meanwhile, may hold the descriptor for long.
                fcntl.flock(file, fcntl.LOCK_UN)


class ArrayWriter:
    """Writes rows of an artefact as they are assigned: `writer[3] = row` or `writer[2:5] = rows`. Thread-safe.

    Uses pwrite, not a memory map: a dirty mapped page costs the kernel four to eight times as much as copying it, and
    writing through a map to a full disk raises SIGBUS, which cannot be handled.
    """

    def __init__(self, file: FileIO, artefact: Artefact) -> None:
        self._file, self._artefact = file, artefact

    def __len__(self) -> int:
        return self._artefact.shape[0]

    def __setitem__(self, rows: int | slice, values: ArrayLike) -> None:
        """Broadcasts and casts as NumPy does. Raises IndexError for an invalid row or step, and OSError."""
        numbers = range(len(self))[rows]
        chosen = range(numbers, numbers + 1) if isinstance(numbers, int) else numbers
        if chosen.step != 1:
            raise IndexError(f"rows {rows}: only consecutive rows can be written at once")
        shape = (len(chosen), *self._artefact.shape[1:])
        block = np.ascontiguousarray(np.broadcast_to(np.asarray(values, self._artefact.dtype), shape))
        offset = len(self._artefact.header) + chosen.start * (block.nbytes // max(1, len(chosen)))
        left = block.reshape(-1).view(np.uint8).data
        while left:
            done = os.pwrite(self._file.fileno(), left, offset)
            left, offset = left[done:], offset + done


def write(file: FileIO, path: Path, artefact: Artefact, build: Callable[[ArrayWriter], None]) -> Opened:
    """Fills a claimed file by calling `build`, publishes it at `path`, maps it read-only, and counts the build.

    Raises OSError and what `build` raises.
    """
    header = artefact.header
    # Allocates everything now, so that a full disk fails before the work is done.
    os.posix_fallocate(file.fileno(), 0, artefact.file_bytes)
    os.pwrite(file.fileno(), header, 0)
    with BuildTimer() as building:
        build(ArrayWriter(file, artefact))
    digest = digest_of(file.fileno(), len(header), artefact.content_bytes)
    trailer = Trailer.now(artefact, digest, build_s=building.own_s)
    os.pwrite(file.fileno(), trailer.pack(), artefact.content_end)
    os.fsync(file.fileno())  # before the rename, so that a power cut cannot leave an incomplete file under the name
    path.with_suffix(BUILDING).replace(path)
    fcntl.flock(file, fcntl.LOCK_SH)  # from builder to reader; waiting builders see that the name is gone
    count_built(building.own_s)
    atomic.sync(path.parent)
    return _map(file, artefact), trailer


def read_trailer(path: Path) -> Trailer | None:
    """Metadata of a finished file. None if it is missing or truncated."""
    try:
        with path.open("rb") as file:
            length = min(MAX_TRAILER_BYTES, os.fstat(file.fileno()).st_size)
            file.seek(-length, os.SEEK_END)
            return Trailer.unpack(file.read(length))
    except OSError:
        return None


def is_whole_on_disk(path: Path, *, threads: int | None) -> bool | None:
    """Whether header, length, trailer and content hash all agree, or None if the file is gone. Reads the whole file.

    threads: hashing threads, or None for one per core. Raises OSError if reading fails for a reason other than damage.
    """
    try:
        with FileIO(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            trailer = read_trailer(path)
            if trailer is None or trailer.artefact.address != path.stem or _check(file, trailer.artefact) is None:
                return None if not _is_current(file, path) else False
            offset, length = len(trailer.artefact.header), trailer.artefact.content_bytes
            return digest_of(file.fileno(), offset, length, threads=threads) == trailer.digest
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:  # the disk has lost a block
            return False
        raise


def is_held(path: Path) -> bool:
    """Whether a process is building this file or has it open."""
    try:
        with FileIO(path) as file:
            return not _lock(file, wait=False)
    except FileNotFoundError:
        return False


def remove_unheld(path: Path) -> int:
    """Removes the file unless it is being built or open. Returns the bytes freed, 0 if it stays."""
    try:
        with FileIO(path) as file:
            if not _lock(file, wait=False) or not _is_current(file, path):
                return 0
            path.unlink()
            return os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def exclusive(path: Path, *, wait: bool) -> Iterator[FileIO | None]:
    """Locks a separate lock file, creating it if missing. Yields None if it is taken and `wait` is False."""
    with FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+") as file:
        yield file if _lock(file, wait=wait) else None


def _lock(file: FileIO, *, wait: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_current(file: FileIO, path: Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _check(file: FileIO, artefact: Artefact) -> Trailer | None:
    """The trailer if header, length and trailer are all valid, else None."""
    header = artefact.header
    if os.pread(file.fileno(), len(header), 0) != header:
        return None
    packed = os.pread(file.fileno(), MAX_TRAILER_BYTES + 1, artefact.content_end)
    trailer = Trailer.unpack(packed)
    if trailer is None or trailer.artefact.address != artefact.address or trailer.pack() != packed:
        return None
    return trailer


def _map(file: FileIO, artefact: Artefact) -> "np.memmap[Any, np.dtype[Any]]":
    return np.memmap(file, artefact.dtype, "r", offset=len(artefact.header), shape=artefact.shape)
