"""Every photo read and decoded once, in parallel: its digest, or why it cannot be used."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import current_process, get_context
from pathlib import Path

from carcls.errors import DataError
from carcls.photos.duplicates import look_of
from carcls.photos.photo import digest_of, preview_bytes, read_photo_bytes
from carcls.system.module_path import without_current_folder


@dataclass(frozen=True, slots=True)
class Scan:
    """What one look at a photo tells. Either `digest` and the figures are set, or `reason`."""

    digest: str = ""
    """Hex blake2b-128 of the file's bytes."""
    reason: str = ""
    """Why the photo cannot be used."""
    width: int = 0
    """Of the decoded photo in px, turned as its EXIF orientation says."""
    height: int = 0
    byte_count: int = 0
    look: bytes = b""
    """Of `look_of`, 4,096 bytes: what look-alikes are found by."""


_CHUNK = 128
"""Photos handed over at once: about 0.3 s of work, as much as it takes to start a process."""


def scan_photos(paths: Sequence[Path], *, processes: int) -> list[Scan]:
    """One scan a photo, in the order of `paths`.

    processes: how many decode at once; 1, and any number where the photos are few, decodes in this one.
    A daemonic process may have no children: there threads do the work. Never raises for a photo.
    """
    chunks = [list(paths[start : start + _CHUNK]) for start in range(0, len(paths), _CHUNK)]
    workers = min(processes, len(chunks))
    if workers <= 1:
        return [scan_photo(path) for path in paths]
    if current_process().daemon:
        with ThreadPoolExecutor(workers) as threads:
            return list(threads.map(scan_photo, paths))
    return scan_in_processes(scan_photo, chunks, workers)


def scan_photo(path: Path) -> Scan:
    """One photo, read and decoded."""
    try:
        data = read_photo_bytes(path)
        preview = preview_bytes(data)
    except DataError as error:
        return Scan(reason=str(error))
    return Scan(
        digest_of(data),
        width=preview.width,
        height=preview.height,
        byte_count=len(data),
        look=look_of(preview.image),
    )


def scan_in_processes(scan: Callable[[Path], Scan], chunks: Sequence[Sequence[Path]], workers: int) -> list[Scan]:
    """`scan` of every path of every chunk, in order; a path on which its process dies gets a reason."""
    # Spawn, not fork: the caller may have threads (Ray, TensorFlow) whose locks a fork would copy. Not
    # forkserver: there is one per process, and the trials need theirs preloaded with TensorFlow.
    with without_current_folder(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_scan_all, scan, chunk) for chunk in chunks]
        parts = [_result_unless_died(future) for future in futures]
    return [
        entry
        for part, chunk in zip(parts, chunks, strict=True)
        for entry in (part if part is not None else _scan_one_by_one(scan, chunk))
    ]


def _scan_all(scan: Callable[[Path], Scan], paths: Sequence[Path]) -> list[Scan]:
    return [scan(path) for path in paths]


def _result_unless_died(future: Future[list[Scan]]) -> list[Scan] | None:
    try:
        return future.result()
    except BrokenProcessPool:  # one process died: all chunks that were not finished by then report it
        return None


def _scan_one_by_one(scan: Callable[[Path], Scan], paths: Sequence[Path]) -> list[Scan]:
    """One photo at a time, so that a process that dies names its photo; a new one takes its place."""
    scans: list[Scan] = []
    while len(scans) < len(paths):
        with without_current_folder(), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                for path in paths[len(scans) :]:
                    scans.append(pool.submit(scan, path).result())
            except BrokenProcessPool:
                scans.append(Scan(reason="the decoding process died on it"))
    return scans
