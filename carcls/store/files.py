"""One artefact's file on disk: claimed, written, mapped, removed.

One lock says everything, and it is on the file itself (flock(2)): exclusive while it is built, shared while it is open.
The kernel frees it when its last holder dies. A memory map keeps its file's descriptor, and so the lock, for as long as
the array lives; a forked child shares both. Whoever gets a lock looks whether the file still has its name, and starts
again where it does not: it was published or removed meanwhile.
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
from carcls.store.usage import Stopwatch, count_built, count_reused
from carcls.system import atomic

Opened = tuple[NDArray[Any], Trailer]

FINISHED = ".npy"
BUILDING = ".building"


def open_artefact(path: Path, artefact: Artefact) -> Opened | None:
    """A read-only map, held open until the array goes; None where the file is missing, cut short or another's.

    Notes the use in the file's times, and counts it. Raises OSError where the disk refuses.
    """
    while True:
        try:
            file = FileIO(os.fspath(path))  # text, or the map would not know its file's name
        except FileNotFoundError:
            return None
        with file:
            fcntl.flock(file, fcntl.LOCK_SH)
            if not _is_current(file, path):
                continue
            trailer = _check(file, artefact)
            if trailer is None:
                return None
            # By hand: file systems mounted noatime or relatime do not note reads, and maps are not noted at all.
            with contextlib.suppress(PermissionError):  # another user's file: it can be read, its times cannot be set
                os.utime(file.fileno())
            opened = _map(file, artefact)
            count_reused(trailer.build_s)
            return opened, trailer


@contextlib.contextmanager
def claimed(path: Path, *, waiting: AbstractContextManager[None] | None) -> Iterator[FileIO | None]:
    """The right to build the artefact of `path`: its unfinished file, empty; gone after a block that does not `write`.

    None where another builds it; with `waiting` only once that has ended, well or not, so that it is time to look
    again: until then, that context is entered.
    """
    unfinished = path.with_suffix(BUILDING)
    with FileIO(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+") as file:
        is_free = _lock(file, wait=False)
        if not is_free and waiting is not None:
            with waiting:
                # Shared, though the right to build is exclusive: once published, the file is held by all who read it.
                fcntl.flock(file, fcntl.LOCK_SH)
        if not is_free or not _is_current(file, unfinished):
            yield None
            return
        try:
            file.truncate(0)  # what a builder left that died
            yield file
        finally:
            if _is_current(file, unfinished):
                unfinished.unlink()
                # An error's traceback, or a child forked meanwhile, may hold the descriptor for long.
                fcntl.flock(file, fcntl.LOCK_UN)


class Blank:
    """An artefact that is being filled: rows are written as they are assigned, `blank[3] = row` or `blank[2:5] = rows`.

    Into the file, not through a map: a page of a mapped file costs the kernel four to eight times as much as copying
    it does, and a write through a map to a full disk is a SIGBUS, which nobody can catch. Safe for several threads.
    """

    def __init__(self, file: FileIO, artefact: Artefact) -> None:
        self._file, self._artefact = file, artefact

    def __len__(self) -> int:
        return self._artefact.shape[0]

    def __setitem__(self, rows: int | slice, values: ArrayLike) -> None:
        """Broadcasts and casts as numpy does. Raises IndexError for a row or a step that is not there, OSError."""
        numbers = range(len(self))[rows]
        chosen = range(numbers, numbers + 1) if isinstance(numbers, int) else numbers
        if chosen.step != 1:
            raise IndexError(f"rows {rows}: only rows in a line can be written at once")
        shape = (len(chosen), *self._artefact.shape[1:])
        block = np.ascontiguousarray(np.broadcast_to(np.asarray(values, self._artefact.dtype), shape))
        offset = len(self._artefact.header) + chosen.start * (block.nbytes // max(1, len(chosen)))
        left = block.reshape(-1).view(np.uint8).data
        while left:
            done = os.pwrite(self._file.fileno(), left, offset)
            left, offset = left[done:], offset + done


def write(file: FileIO, path: Path, artefact: Artefact, build: Callable[[Blank], None]) -> Opened:
    """Fills a claimed file by `build`, publishes it at `path`, maps it read-only, and counts that.

    Raises OSError, or what `build` raises.
    """
    header = artefact.header
    # A full disk shows before the work is done, not after it.
    os.posix_fallocate(file.fileno(), 0, artefact.file_bytes)
    os.pwrite(file.fileno(), header, 0)
    with Stopwatch() as building:
        build(Blank(file, artefact))
    digest = digest_of(file.fileno(), len(header), artefact.content_bytes)
    trailer = Trailer.now(artefact, digest, build_s=building.own_s)
    os.pwrite(file.fileno(), trailer.pack(), artefact.content_end)
    os.fsync(file.fileno())
    path.with_suffix(BUILDING).replace(path)
    fcntl.flock(file, fcntl.LOCK_SH)  # from builder to reader; who waited to build sees that the name is gone
    count_built(building.own_s)
    atomic.sync(path.parent)
    return _map(file, artefact), trailer


def read_trailer(path: Path) -> Trailer | None:
    """What a finished file tells about itself; None where it is missing or cut short."""
    try:
        with path.open("rb") as file:
            length = min(MAX_TRAILER_BYTES, os.fstat(file.fileno()).st_size)
            file.seek(-length, os.SEEK_END)
            return Trailer.unpack(file.read(length))
    except OSError:
        return None


def is_whole_on_disk(path: Path, *, threads: int | None) -> bool | None:
    """Whether the file's header, length, trailer and content hash all agree; None where it is gone. Reads all of it.

    threads: that hash; None takes one for each core. Raises OSError where the file cannot be read for another reason
    than damage.
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
        if error.errno == errno.EIO:  # the disk has lost that block
            return False
        raise


def is_held(path: Path) -> bool:
    """Whether somebody builds this file or has it open at this moment."""
    try:
        with FileIO(path) as file:
            return not _lock(file, wait=False)
    except FileNotFoundError:
        return False


def remove_unheld(path: Path) -> int:
    """Removes the file unless somebody builds it or has it open; returns the bytes that it had, 0 where it stays."""
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
    """A file of its own as a lock, made where it is missing and left there; None where it is taken and not `wait`."""
    with FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+") as file:
        yield file if _lock(file, wait=wait) else None


def _lock(file: FileIO, *, wait: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_current(file: FileIO, path: Path) -> bool:
    """Whether the open file still is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _check(file: FileIO, artefact: Artefact) -> Trailer | None:
    """The trailer where header, length and trailer are all as they should be."""
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
