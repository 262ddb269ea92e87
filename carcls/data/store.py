"""Artefacts on the node's own disk: content-addressed, built once, published atomically, memory-mapped."""

import errno
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import DTypeLike, NDArray

from carcls import atomic
from carcls.errors import DataError

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

_FORMAT_VERSION = 1
"""Part of every key: raise it when what builders write under an equal key changes."""


def default_store_root() -> Path:
    """$CARSEARCH_STORE, else ~/.cache/carsearch/store. It should be on a disk of this node."""
    named = os.environ.get("CARSEARCH_STORE")
    return Path(named) if named else Path.home() / ".cache" / "carsearch" / "store"


class Store:
    """Arrays that are a pure function of their key, shared by all processes of a node.

    Safe for any number of threads and processes at once: an artefact is built by one of them while the others
    wait for its lock, which the kernel frees when its holder dies. Instances hold no open file and pickle.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def get_or_build(
        self, key: Mapping[str, Json], shape: Sequence[int], dtype: DTypeLike, build: Callable[[NDArray[Any]], None]
    ) -> NDArray[Any]:
        """The artefact of this key as a read-only memory map; built first where it is missing or torn.

        key: everything that the content depends on. build: fills a zeroed array of `shape` and `dtype`; what it
        raises passes through and nothing is published. Raises DataError where the disk refuses.
        """
        if 0 in shape:  # an empty file cannot be mapped, and needs no store
            return np.empty(shape, dtype)
        path = self.root / f"{_address(key, shape, dtype)}.npy"
        existing = _open(path, shape, dtype)
        if existing is not None:
            return existing
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                existing = _open(path, shape, dtype)  # built while this process waited
                return existing if existing is not None else _build(path, shape, dtype, build)
        except OSError as error:
            size_mb = _size_bytes(shape, dtype) / 1e6
            raise DataError(
                f"{path}: cannot build an artefact of {size_mb:,.1f} MB: {error.strerror or error};"
                " free room there, or set CARSEARCH_STORE to a folder on a larger disk of this node"
            ) from error


def _address(key: Mapping[str, Json], shape: Sequence[int], dtype: DTypeLike) -> str:
    identity = {"version": _FORMAT_VERSION, "shape": list(shape), "dtype": np.dtype(dtype).str, "key": key}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _open(path: Path, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any] | None:
    """A read-only map, or None where the file is missing, cut short or of another shape."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == tuple(shape) and array.dtype == np.dtype(dtype) else None


def _build(path: Path, shape: Sequence[int], dtype: DTypeLike, build: Callable[[NDArray[Any]], None]) -> NDArray[Any]:
    """Under the artefact's lock: whatever temporary file is found belongs to a builder that died."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    _check_room(path.parent, shape, dtype)
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.dtype(dtype), shape=tuple(shape))
        with temporary.open("rb+") as file:
            # A write through a map to a full disk is a SIGBUS, which nobody can catch; asking first is an OSError.
            os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
            build(array)
            array.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    atomic.sync(path.parent)
    published = _open(path, shape, dtype)
    if published is None:
        raise OSError(f"the file just written cannot be opened: {path}")
    return published


def _check_room(folder: Path, shape: Sequence[int], dtype: DTypeLike) -> None:
    """Refuses what cannot fit before trying: a try would fill the disk for a moment, to the harm of others."""
    disk = os.statvfs(folder)
    if _size_bytes(shape, dtype) > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _size_bytes(shape: Sequence[int], dtype: DTypeLike) -> int:
    return np.dtype(dtype).itemsize * math.prod(shape)
