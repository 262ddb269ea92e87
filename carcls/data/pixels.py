"""Decode and resize once per node -> uint8 (n, size, size, 3), shared by every process that trains there."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.data.photo import decode_bytes, digest_of, read_photo_bytes
from carcls.data.store import Json, Store
from carcls.data.table import ImageTable
from carcls.errors import DataError

_INTERPOLATION = "area down, cubic up"
"""Part of the artefact's key: what `resize` does."""


def pixels(table: ImageTable, size_px: int, store: Store, *, processes: int) -> NDArray[np.uint8]:
    """uint8 (n, size_px, size_px, 3) RGB, a read-only memory map; row i is photo i of the table.

    processes: how many photos are decoded at once while the artefact is built. They are threads: OpenCV gives
    up the GIL while it decodes, and threads also work in daemonic processes, which may have no children.
    Raises DataError naming the photo that is unreadable or has changed since the table was made.
    """
    key: dict[str, Json] = {
        "kind": "pixels",
        "digests": hashlib.blake2b("\n".join(table.digests).encode(), digest_size=16).hexdigest(),
        "size_px": size_px,
        "interpolation": _INTERPOLATION,
        "opencv": cv2.__version__,  # decoders differ between versions in the last bit
    }

    def build(array: NDArray[Any]) -> None:
        def fill(index: int) -> None:
            array[index] = _checked(table, index, size_px)

        with ThreadPoolExecutor(max(1, processes)) as pool:
            for _ in pool.map(fill, range(len(table))):
                pass

    return store.get_or_build(key, (len(table), size_px, size_px, 3), np.uint8, build)


def decode(path: Path, size_px: int) -> NDArray[np.uint8]:
    """One photo -> uint8 (size_px, size_px, 3) RGB, as training sees it. Raises DataError naming the file."""
    try:
        return resize(decode_bytes(read_photo_bytes(path)), size_px)
    except DataError as error:
        raise DataError(f"{path}: {error}; replace or remove the photo") from error


def resize(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """uint8 (h, w, 3) -> (size_px, size_px, 3); the aspect ratio is not kept.

    Each axis that shrinks is averaged over areas, so that nothing aliases; what is left to enlarge is cubic.
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
        return resize(decode_bytes(data), size_px)
    except DataError as error:
        raise DataError(f"{path}: {error}; restore the photo, or start a new study on the folder as it is") from error
