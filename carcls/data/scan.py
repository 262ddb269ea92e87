"""Every photo read and decoded once, in parallel: its digest, or why it cannot be used."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import current_process, get_context
from pathlib import Path

from carcls.data.photo import decode_bytes, digest_of, read_photo_bytes
from carcls.errors import DataError

_CHUNK = 64
"""Photos handed over at once: about 0.2 s of work against 1 ms of transfer."""


def scan_photos(paths: Sequence[Path], *, processes: int) -> list[tuple[str, str]]:
    """(digest, "") of each usable photo and ("", reason) of each other, in the order of `paths`.

    processes: how many decode at once; 1, and any number too small to be worth a process, decodes in this one.
    A daemonic process may have no children: there threads do the work. Never raises for a photo.
    """
    chunks = [list(paths[start : start + _CHUNK]) for start in range(0, len(paths), _CHUNK)]
    if processes <= 1 or len(chunks) <= 1:
        return _scan_chunk(list(paths))
    workers = min(processes, len(chunks))
    if current_process().daemon:
        with ThreadPoolExecutor(workers) as threads:
            return [scan for part in threads.map(_scan_chunk, chunks) for scan in part]
    return [scan for part in _scan_in_processes(chunks, workers) for scan in part]


def scan_photo(path: Path) -> tuple[str, str]:
    """(digest, "") or ("", reason) of one photo."""
    try:
        data = read_photo_bytes(path)
        decode_bytes(data)
    except DataError as error:
        return "", str(error)
    return digest_of(data), ""


def _scan_chunk(paths: list[Path]) -> list[tuple[str, str]]:
    return [scan_photo(path) for path in paths]


def _scan_in_processes(chunks: list[list[Path]], workers: int) -> list[list[tuple[str, str]]]:
    # Spawn, not fork: the caller may have threads (Ray, TensorFlow) whose locks a fork would copy. Not
    # forkserver: there is one per process, and the trials need theirs preloaded with TensorFlow.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_scan_chunk, chunk) for chunk in chunks]
        try:
            return [future.result() for future in futures]
        except BrokenProcessPool:
            finished = [future.result() if future.done() and not future.exception() else None for future in futures]
    return [scans or _scan_one_by_one(chunk) for scans, chunk in zip(finished, chunks, strict=True)]


def _scan_one_by_one(paths: list[Path]) -> list[tuple[str, str]]:
    """A photo on which the decoder itself dies costs its own process only, and is named."""
    scans = []
    pool = None
    for path in paths:
        pool = pool or ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            scans.append(pool.submit(scan_photo, path).result())
        except BrokenProcessPool:
            scans.append(("", "the decoding process died on it"))
            pool.shutdown()
            pool = None
    if pool:
        pool.shutdown()
    return scans
