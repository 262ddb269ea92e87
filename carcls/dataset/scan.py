"""Reads and decodes every photo once, in parallel: its digest and thumbnail, or why it cannot be used."""

import struct
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import current_process, get_context
from pathlib import Path

from carcls.errors import DataError
from carcls.photos.duplicates import thumbnail_of
from carcls.photos.photo import digest_of, preview_bytes, read_photo_bytes
from carcls.system.module_path import without_current_folder


@dataclass(frozen=True, slots=True)
class Scan:
    """Result of scanning one photo: either `reason` is set, or all other fields."""

    digest: str = ""
    """Hex blake2b-128 of the file's bytes."""
    reason: str = ""
    """Why the photo cannot be used."""
    width: int = 0
    """Of the decoded photo in px, after EXIF rotation."""
    height: int = 0
    byte_count: int = 0
    thumbnail: bytes = b""
    """From `thumbnail_of`, 4,096 bytes; used to find look-alikes."""


_CHUNK = 128
"""Photos per task: about 0.3 s of work, as long as it takes to start a process."""


def scan_photos(paths: Sequence[Path], *, processes: int) -> list[Scan]:
    """One scan per photo, in the order of `paths`. Never raises for a photo.

    processes: number of worker processes; 1, or few photos, decodes in this process. Daemonic processes cannot have
    children, so they use threads.
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
    """Reads and decodes one photo. Never raises for its content."""
    try:
        data = read_photo_bytes(path)
        preview = preview_bytes(data)
    except DataError as error:
        return Scan(reason=str(error))
    except (IndexError, struct.error, ValueError) as error:  # a length that a header declares and the file lacks
        return Scan(reason=f"its header cannot be read: {type(error).__name__}: {error}")
    return Scan(
        digest_of(data),
        width=preview.width,
        height=preview.height,
        byte_count=len(data),
        thumbnail=thumbnail_of(preview.image),
    )


def scan_in_processes(scan: Callable[[Path], Scan], chunks: Sequence[Sequence[Path]], workers: int) -> list[Scan]:
    """`scan` of every path of every chunk, in order. A path that kills its worker process gets a reason."""
    # Spawn, not fork: the caller may have threads (Ray, TensorFlow) whose locks a fork would copy. Not forkserver:
    # there is only one per process, and trials need theirs preloaded with TensorFlow.
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
    except BrokenProcessPool:  # a worker died: all unfinished chunks raise this
        return None


def _scan_one_by_one(scan: Callable[[Path], Scan], paths: Sequence[Path]) -> list[Scan]:
    """One photo at a time, to find the photo that kills the worker. A new worker continues after it."""
    scans: list[Scan] = []
    while len(scans) < len(paths):
        with without_current_folder(), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                for path in paths[len(scans) :]:
                    scans.append(pool.submit(scan, path).result())
            except BrokenProcessPool:
                scans.append(Scan(reason="decoding it crashed the process"))
    return scans
