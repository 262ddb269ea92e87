"""Decodes and resizes photos once per node to uint8 (n, height, width, 3), shared by all trainings there."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.dataset.table import ImageTable
from carcls.errors import DataError, StoreError
from carcls.frames import Frame, Size, frame_of, size_name
from carcls.input.pixel_rows import PixelRows
from carcls.photos.photo import decode_bytes, decode_verified, digest_of, read_photo_bytes
from carcls.store import ArrayWriter, Json, Progress, Store

_INTERPOLATION = "area down, cubic up"
"""Part of the artefact's key: describes `resize`."""
_DECODING = "upright, alpha on white, still"
"""Part of the artefact's key: what `decode_bytes` does beyond OpenCV."""
_PHOTOS_A_TASK = 8
_BAR = (124, 116, 104)
"""Colour of the bars of `pad`: ImageNet's mean, which every backbone's scaling puts near its middle."""


def pixels(table: ImageTable, size_px: Size, store: Store, *, processes: int) -> "Pixels":
    """uint8 (n, height, width, 3) RGB, read-only; row i is photo i of the table.

    A memory map from the store, built first if missing. If the store is off or unusable, photos are decoded on demand,
    with the same values. processes: number of photos decoded in parallel. Raises DataError naming a photo that is
    unreadable or has changed since the table was made.
    """
    try:
        return store.get_or_build(*_request(table, size_px, processes))
    except StoreError:
        return PhotosOnDemand(table, size_px, processes=processes)


def try_pixels(table: ImageTable, size_px: Size, store: Store, *, processes: int) -> "Pixels | None":
    """The same, but None if another process is building it."""
    try:
        return store.try_build(*_request(table, size_px, processes))
    except StoreError:
        return PhotosOnDemand(table, size_px, processes=processes)


def pixels_bytes(count: int, size_px: Size) -> int:
    """Size of so many photos in the store, without an overhead of less than 10 KB."""
    return count * frame_of(size_px).area * 3


class PhotosOnDemand:
    """A table's photos at one size, decoded on each access, so that only indexed photos take memory.

    Indexed along the first axis like an array. Thread-safe.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, table: ImageTable, size_px: Size, *, processes: int) -> None:
        self._table, self._threads = table, max(1, processes)
        self._frame = frame_of(size_px)
        self.shape = (len(table), *self._frame.shape)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, rows: int | slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        """(height, width, 3) for an integer, (k, height, width, 3) for several rows. Raises DataError, IndexError."""
        chosen = np.arange(len(self))[rows]
        if chosen.ndim == 0:
            return _checked(self._table, int(chosen), self._frame)
        out = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        progress = Progress(f"{len(chosen)} photos at {self._frame} px", len(chosen))
        _decode_into(out, self._table, chosen, self._frame, threads=self._threads, progress=progress)
        return out


Pixels = NDArray[np.uint8] | PhotosOnDemand | PixelRows
"""uint8 (n, height, width, 3) RGB, read-only, indexed by photo: a memory map, photos decoded on demand, or rows of
either."""


def size_key(size_px: Size) -> dict[str, Json]:
    """The part of a key that says a size: `size_px`, and `fit` unless photos are stretched."""
    fit, key = frame_of(size_px).fit, dict[str, Json](size_px=size_name(size_px))
    return key if fit == "stretch" else {**key, "fit": fit}


def pixels_key(table: ImageTable, size_px: Size) -> dict[str, Json]:
    """Everything that those pixels depend on. Part of the key of every artefact derived from them."""
    return {
        "kind": "pixels",
        "digests": hashlib.blake2b("\n".join(table.digests).encode(), digest_size=16).hexdigest(),
        **size_key(size_px),
        "decoding": _DECODING,
        "interpolation": _INTERPOLATION,
        "opencv": cv2.__version__,  # decoders of different versions differ in the last bit
    }


def decode(path: Path, size_px: Size) -> NDArray[np.uint8]:
    """One photo -> uint8 (height, width, 3) RGB, as training sees it. Raises DataError naming the file."""
    try:
        return resize(decode_bytes(read_photo_bytes(path)), size_px)
    except DataError as error:
        raise DataError(f"{path}: {error}; replace or remove the photo") from error


def resize(image: NDArray[np.uint8], size_px: Size) -> NDArray[np.uint8]:
    """uint8 (h, w, 3) -> the size's shape, as its fit says.

    Axes that shrink use area averaging, which avoids aliasing; then axes that grow use cubic interpolation.
    """
    frame = frame_of(size_px)
    match frame.fit:
        case "stretch":
            return _stretched(image, frame.height, frame.width)
        case "pad":
            return _padded(image, frame)
        case "crop":
            return _cropped(image, frame)


def _stretched(image: NDArray[np.uint8], to_height: int, to_width: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    shrunk = (min(width, to_width), min(height, to_height))
    if shrunk != (width, height):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (to_width, to_height):
        image = cv2.resize(image, (to_width, to_height), interpolation=cv2.INTER_CUBIC)
    return image


def _padded(image: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    """The whole photo in the middle, with bars of `_BAR` above and below or left and right."""
    height, width = image.shape[:2]
    scale = min(frame.height / height, frame.width / width)
    sides = ((height, frame.height), (width, frame.width))
    inner = _stretched(image, *(min(max(1, round(side * scale)), most) for side, most in sides))
    out = np.full(frame.shape, _BAR, np.uint8)
    top, left = (frame.height - inner.shape[0]) // 2, (frame.width - inner.shape[1]) // 2
    out[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return out


def _cropped(image: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    """The largest part in the middle of the photo that has the frame's shape."""
    height, width = image.shape[:2]
    scale = min(height / frame.height, width / frame.width)
    kept = [min(max(1, round(side * scale)), most) for side, most in ((frame.height, height), (frame.width, width))]
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    return _stretched(image[top : top + kept[0], left : left + kept[1]], frame.height, frame.width)


def _checked(table: ImageTable, index: int, size_px: Size) -> NDArray[np.uint8]:
    path = table.root / table.paths[index]
    try:
        data = read_photo_bytes(path)
        if digest_of(data) != table.digests[index]:
            raise DataError("has changed since the data folder was checked")
        return resize(decode_verified(data), size_px)
    except DataError as error:
        raise DataError(f"{path}: {error}; restore the photo, or start a new study on the folder as it is") from error


_Request = tuple[dict[str, Json], tuple[int, ...], type[np.uint8], Callable[[ArrayWriter], None]]


def _request(table: ImageTable, size_px: Size, threads: int) -> _Request:
    """Arguments for the store: key, shape, dtype and builder."""

    def build(writer: ArrayWriter) -> None:
        progress = Progress(f"pixels {size_name(size_px)} px", len(table))
        _decode_into(writer, table, np.arange(len(table)), size_px, threads=threads, progress=progress)

    return pixels_key(table, size_px), (len(table), *frame_of(size_px).shape), np.uint8, build


def _decode_into(
    out: ArrayWriter | NDArray[np.uint8],
    table: ImageTable,
    rows: NDArray[np.integer],
    size_px: Size,
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
