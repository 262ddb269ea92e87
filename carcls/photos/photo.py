"""One photo file -> bytes -> pixels, with nothing about the file trusted: kind, size and content are checked."""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.errors import DataError
from carcls.photos import jpeg
from carcls.photos.exif import orientation_of
from carcls.photos.headers import Header, read_header
from carcls.photos.png import still

MAX_PIXELS = 100_000_000
"""A photo that claims more is taken for a decompression bomb."""
_MAX_DEEP_PIXELS = MAX_PIXELS // 2
"""With transparency and 16 bits a channel: OpenCV keeps two copies of 8 bytes a pixel. So no photo takes more than
1.2 GB while it is decoded; three channels of 8 bits take 0.6 GB at the most."""
_MAX_SCANS, _FEW_SCANS, _SCANNED_PIXELS = 100, 20, 2_000_000_000
"""Of a progressive JPEG: a usual one has 10. Each costs a millisecond a megapixel, whatever it holds, so that large
photos may have fewer: as many as pass over so many pixels in all, but 20 in any case."""
_ROWS_AT_ONCE = 256
MAX_FILE_BYTES = 256 * 2**20
_PREVIEW_PX = 256
"""Sides from which on half of a photo is enough for its thumbnail."""

# OpenCV would start a thread per core in every process and thread of ours that decodes or augments; those
# already fill the cores, and its own threads only wait for each other.
cv2.setNumThreads(0)

_KEPT_BYTES = 31 * 2**20


def _keep_freed_memory() -> None:
    """Frees one large block that was never touched, so that the C library keeps freed blocks of up to its size.

    It otherwise hands all over 128 KB back to the kernel, and each photo's memory is paged in anew: more than half of
    the time that decoding 640x480 takes (mallopt(3), M_MMAP_THRESHOLD, which grows so by itself).
    """
    np.empty(_KEPT_BYTES, np.uint8)


_keep_freed_memory()


def read_photo_bytes(path: Path) -> bytes:
    """All bytes of a regular file. Raises DataError with the reason alone; the caller says which photo."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device would never end
            raise DataError("not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise DataError(f"file of {status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise DataError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def digest_of(data: bytes) -> str:
    """Hex of the 128-bit blake2b of a file's bytes: equal digests, equal photos."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def decode_bytes(data: bytes) -> NDArray[np.uint8]:
    """Bytes of a JPEG, PNG or WebP file -> uint8 (height, width, 3) RGB, turned as its EXIF orientation says.

    By content, whatever the file is called. Transparent parts are white, as a viewer shows them: the colours that the
    file keeps under them were never meant to be seen. Of an animation the picture counts that a still viewer shows; 16
    bits become 8.
    Raises DataError with the reason alone: another format, more than MAX_PIXELS, or content that does not decode to
    the whole photo.
    """
    image = _as_it_lies(data, _checked_header(data))
    _check_whole(data, image)
    return _upright(image, data)


def decode_again(data: bytes) -> NDArray[np.uint8]:
    """The same of bytes that were checked before: whether a part of the photo is missing is not asked again."""
    return _upright(_as_it_lies(data, _checked_header(data)), data)


def _checked_header(data: bytes) -> Header:
    header = read_header(data)
    pixels, most = header.width * header.height, MAX_PIXELS
    if header.has_alpha and header.is_deep:
        most = _MAX_DEEP_PIXELS
    if pixels > most:
        raise DataError(f"claims {header.width} x {header.height} px; at most {most // 10**6} megapixels are decoded")
    if data.startswith(jpeg.SIGNATURE):
        scans, allowed = jpeg.scan_count(data), min(_MAX_SCANS, max(_FEW_SCANS, _SCANNED_PIXELS // max(1, pixels)))
        if scans > allowed:
            raise DataError(
                f"has {scans:,} scans; at most {allowed} are decoded at {header.width} x {header.height} px"
            )
    return header


def _as_it_lies(data: bytes, header: Header) -> NDArray[np.uint8]:
    """RGB, not turned."""
    data = still(data) if data.startswith(b"\x89PNG") else data
    if not header.has_alpha:
        return _imdecode(data, cv2.IMREAD_COLOR_RGB, header)
    image = _imdecode(data, cv2.IMREAD_UNCHANGED, header)
    if image.ndim == 2 or image.shape[2] != 4:  # OpenCV passes over a grey PNG's transparent shade
        return _imdecode(data, cv2.IMREAD_COLOR_RGB, header)
    return _on_white(image)


def _check_whole(data: bytes, image: NDArray[np.uint8]) -> None:
    """image: as it lies in the file, at any size. Raises DataError for a JPEG that was cut short and closed again."""
    if data.startswith(jpeg.SIGNATURE) and jpeg.is_cut_short(data, image):
        raise DataError("cut short: a part of the photo is missing, and would be grey")


@dataclass(frozen=True, slots=True)
class Preview:
    """A photo that decodes, and a picture of it that is good enough for a thumbnail."""

    image: NDArray[np.uint8]
    """Grey (h, w) or RGB (h, w, 3), upright; at least half as large as the photo."""
    width: int
    """Of the whole photo in px, upright."""
    height: int


def preview_bytes(data: bytes) -> Preview:
    """Checks all of a photo's bytes, as `decode_bytes` does, in half of the time where it is a large JPEG.

    Such a one is decoded to grey at half its size: every bit of it is still read, and only the transform to pixels is
    cheaper. Raises DataError as `decode_bytes`.
    """
    header = _checked_header(data)
    is_large = min(header.width, header.height) >= _PREVIEW_PX
    if not (data.startswith(jpeg.SIGNATURE) and is_large):
        image = decode_bytes(data)
        return Preview(image, width=image.shape[1], height=image.shape[0])
    half = _imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_2, header)
    _check_whole(data, half)
    on_its_side = orientation_of(data) >= 5
    width, height = (header.height, header.width) if on_its_side else (header.width, header.height)
    return Preview(_upright(half, data), width=width, height=height)


def _upright(image: NDArray[np.uint8], data: bytes) -> NDArray[np.uint8]:
    return np.ascontiguousarray(_turned(image, orientation_of(data)))


def _imdecode(data: bytes, flags: int, header: Header) -> NDArray[Any]:
    """Not turned: OpenCV finds an orientation in some places only."""
    shrunk = 2 if flags == cv2.IMREAD_REDUCED_GRAYSCALE_2 else 1
    if flags != cv2.IMREAD_UNCHANGED:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise DataError(f"does not decode: {' '.join(str(error).split())}") from error
    if image is None:
        raise DataError("does not decode: the content is broken or cut short")
    if image.shape[:2] != (-(-header.height // shrunk), -(-header.width // shrunk)):
        raise DataError(
            f"decodes to {image.shape[1] * shrunk} x {image.shape[0] * shrunk} px; its header says"
            f" {header.width} x {header.height}"
        )
    return image


def _on_white(image: NDArray[Any]) -> NDArray[np.uint8]:
    """BGRA (h, w, 4) of 8 or 16 bits -> RGB (h, w, 3)."""
    photo = np.empty((*image.shape[:2], 3), np.uint8)
    for start in range(0, len(image), _ROWS_AT_ONCE):  # all at once, what is computed on the way would be gigabytes
        rows = image[start : start + _ROWS_AT_ONCE]
        if rows.dtype == np.uint16:
            rows = (rows >> 8).astype(np.uint8)
        opaque = cv2.cvtColor(rows, cv2.COLOR_BGRA2RGB)
        alpha = rows[..., 3:].astype(np.uint16)
        mixed = opaque * alpha + 255 * (255 - alpha)  # at most 255 * 255: uint16 holds it
        photo[start : start + len(rows)] = (mixed + 127) // 255
    return photo


def _turned(photo: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Upright, for EXIF's eight orientations (tag 0x0112): 5 to 8 lie on their side."""
    if orientation >= 5:
        photo = photo.swapaxes(0, 1)
    mirrored, upside_down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return photo[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
