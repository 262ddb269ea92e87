"""Decodes and resizes photos once per node to uint8 (n, size, size, 3), shared by all trainings there."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.dataset.table import ImageTable
from carcls.errors import DataError, StoreError
from carcls.input.pixel_rows import PixelRows
from carcls.photos.photo import decode_bytes, decode_verified, digest_of, read_photo_bytes
from carcls.store import ArrayWriter, Json, Progress, Store

_INTERPOLATION = "area down, cubic up"
"""Part of the artefact's key: describes `resize`."""
_DECODING = "upright, alpha on white, still"
"""Part of the artefact's key: what `decode_bytes` does beyond OpenCV."""
_PHOTOS_A_TASK = 8


def pixels(table: ImageTable, size_px: int, store: Store, *, processes: int) -> "Pixels":
    """uint8 (n, size_px, size_px, 3) RGB, read-only; row i is photo i of the table.

    A memory map from the store, built first if missing. If the store is off or unusable, photos are decoded on demand,
    with the same values. processes: number of photos decoded in parallel. Raises DataError naming a photo that is
    unreadable or has changed since the table was made.
    """
    try:
        return store.get_or_build(*_request(table, size_px, processes))
    except StoreError:
        return PhotosOnDemand(table, size_px, processes=processes)


def try_pixels(table: ImageTable, size_px: int, store: Store, *, processes: int) -> "Pixels | None":
    """The same, but None if another process is building it."""
    try:
        return store.try_build(*_request(table, size_px, processes))
    except StoreError:
        return PhotosOnDemand(table, size_px, processes=processes)


def pixels_bytes(count: int, size_px: int) -> int:
    """Size of so many photos in the store, without an overhead of less than 10 KB."""
    return count * size_px**2 * 3


class PhotosOnDemand:
    """A table's photos at one size, decoded on each access, so that only indexed photos take memory.

    Indexed along the first axis like an array. Thread-safe.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, table: ImageTable, size_px: int, *, processes: int) -> None:
        self._table, self._threads = table, max(1, processes)
        self.shape = (len(table), size_px, size_px, 3)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, rows: int | slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        """(size, size, 3) for an integer, (k, size, size, 3) for several rows. Raises DataError, IndexError."""
        chosen = np.arange(len(self))[rows]
        if chosen.ndim == 0:
            return _checked(self._table, int(chosen), self.shape[1])
        out = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        progress = Progress(f"{len(chosen)} photos at {self.shape[1]} px", len(chosen))
        _decode_into(out, self._table, chosen, self.shape[1], threads=self._threads, progress=progress)
        return out


Pixels = NDArray[np.uint8] | PhotosOnDemand | PixelRows
"""uint8 (n, size, size, 3) RGB, read-only, indexed by photo: a memory map, photos decoded on demand, or rows of
either."""


def pixels_key(table: ImageTable, size_px: int) -> dict[str, Json]:
    """Everything that those pixels depend on. Part of the key of every artefact derived from them."""
    return {
        "kind": "pixels",
        "digests": hashlib.blake2b("\n".join(table.digests).encode(), digest_size=16).hexdigest(),
        "size_px": size_px,
        "decoding": _DECODING,
        "interpolation": _INTERPOLATION,
        "opencv": cv2.__version__,  # decoders of different versions differ in the last bit
    }


def decode(path: Path, size_px: int) -> NDArray[np.uint8]:
    """One photo -> uint8 (size_px, size_px, 3) RGB, as training sees it. Raises DataError naming the file."""
    try:
        return resize(decode_bytes(read_photo_bytes(path)), size_px)
    except DataError as error:
        raise DataError(f"{path}: {error}; replace or remove the photo") from error


def resize(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """uint8 (h, w, 3) -> (size_px, size_px, 3), without keeping the aspect ratio.

    Axes that shrink use area averaging, which avoids aliasing; then axes that grow use cubic interpolation.
    """
    height, width = image.shape[:2]
    shrunk = (min(width, size_px), min(height, size_px))
    if shrunk != (width, height):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (size_px, size_px):
        image = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return image


def _checked(table: ImageTable, index: int, size_px: int) -> NDArray[np.uint8]:
    path = table.root / table.paths[index]
    try:
        data = read_photo_bytes(path)
        if digest_of(data) != table.digests[index]:
            raise DataError("has changed since the data folder was checked")
        return resize(decode_verified(data), size_px)
    except DataError as error:
        raise DataError(f"{path}: {error}; restore the photo, or start a new study on the folder as it is") from error


_Request = tuple[dict[str, Json], tuple[int, ...], type[np.uint8], Callable[[ArrayWriter], None]]


def _request(table: ImageTable, size_px: int, threads: int) -> _Request:
    """Arguments for the store: key, shape, dtype and builder."""

    def build(writer: ArrayWriter) -> None:
        progress = Progress(f"pixels {size_px} px", len(table))
        _decode_into(writer, table, np.arange(len(table)), size_px, threads=threads, progress=progress)

    return pixels_key(table, size_px), (len(table), size_px, size_px, 3), np.uint8, build


def _decode_into(
    out: ArrayWriter | NDArray[np.uint8],
    table: ImageTable,
    rows: NDArray[np.integer],
    size_px: int,
    *,
    threads: int,
    progress: Progress,
) -> None:
    """out[i] = photo rows[i] of the table, decoded in threads.

    Threads are as fast as processes, since OpenCV and the digest release the GIL. They also start faster, share memory
    and work in daemonic processes, which cannot have children.
    """

    def task(start: int) -> int:
        batch = rows[start : start + _PHOTOS_A_TASK]
        for place, row in enumerate(batch, start):
            out[place] = _checked(table, int(row), size_px)
        return len(batch)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for done in pool.map(task, range(0, len(rows), _PHOTOS_A_TASK)):
            progress.add(done)
