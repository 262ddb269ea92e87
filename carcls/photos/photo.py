"""Reads and decodes an untrusted photo file: its type, size and content are checked."""

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
from carcls.photos.png import without_animation

MAX_PIXELS = 100_000_000
"""A photo that declares more is rejected as a decompression bomb."""
_MAX_DEEP_PIXELS = MAX_PIXELS // 2
"""Limit for transparency with 16 bits per channel, where OpenCV keeps two copies of 8 bytes per pixel. Decoding thus
never takes more than 1.2 GB; three channels of 8 bits take at most 0.6 GB."""
_MAX_SCANS, _FEW_SCANS, _SCANNED_PIXELS = 100, 20, 2_000_000_000
"""Limits for progressive JPEGs, which usually have 10 scans. Each scan costs a millisecond per megapixel even if it is
empty, so large photos may have fewer: at most `_SCANNED_PIXELS` over all scans, but always 20 scans."""
_ROWS_AT_ONCE = 256
MAX_FILE_BYTES = 256 * 2**20
_PREVIEW_PX = 256
"""Shorter side from which a photo decoded at half size is good enough for its thumbnail."""

# OpenCV would start one thread per core in each of our processes and threads. Those already use all cores, so its own
# threads would only wait for each other.
cv2.setNumThreads(0)

_KEPT_BYTES = 31 * 2**20


def _keep_freed_memory() -> None:
    """Makes the C library keep freed blocks for reuse, by allocating and freeing one large block.

    glibc returns blocks over 128 KB to the kernel until a larger one was freed (mallopt(3), M_MMAP_THRESHOLD). Paging
    in each photo's memory again takes more than half of the time of decoding 640x480.
    """
    np.empty(_KEPT_BYTES, np.uint8)


_keep_freed_memory()


def read_photo_bytes(path: Path) -> bytes:
    """All bytes of a regular file. Raises DataError with only the reason; the caller adds the path."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device would never end
            raise DataError("not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise DataError(f"file of {status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError) as error:  # ValueError: an invalid file name
        raise DataError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def digest_of(data: bytes) -> str:
    """Hex of the 128-bit blake2b of a file's bytes. Equal digests mean equal photos."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def decode_bytes(data: bytes) -> NDArray[np.uint8]:
    """Decodes a JPEG, PNG or WebP file to uint8 (height, width, 3) RGB, rotated by its EXIF orientation.

    The format is recognised by content, not by name. Transparent parts become white, as in a viewer: the colours stored
    under them were never meant to be seen. An animation yields its default image; 16 bits become 8.

    Raises DataError with only the reason: another format, more than MAX_PIXELS, or an incomplete photo.
    """
    image = _unrotated(data, _checked_header(data))
    _check_whole(data, image)
    return _upright(image, data)


def decode_verified(data: bytes) -> NDArray[np.uint8]:
    """The same for bytes that `decode_bytes` or `preview_bytes` accepted before: skips the check for truncation."""
    return _upright(_unrotated(data, _checked_header(data)), data)


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


def _unrotated(data: bytes, header: Header) -> NDArray[np.uint8]:
    """RGB, before EXIF rotation."""
    data = without_animation(data) if data.startswith(b"\x89PNG") else data
    if not header.has_alpha:
        return _imdecode(data, cv2.IMREAD_COLOR_RGB, header)
    image = _imdecode(data, cv2.IMREAD_UNCHANGED, header)
    if image.ndim == 2 or image.shape[2] != 4:  # OpenCV ignores the transparent shade of a grey PNG
        return _imdecode(data, cv2.IMREAD_COLOR_RGB, header)
    return _on_white(image)


def _check_whole(data: bytes, image: NDArray[np.uint8]) -> None:
    """Raises DataError for a truncated JPEG that has an end marker. image: before EXIF rotation, at any size."""
    if data.startswith(jpeg.SIGNATURE) and jpeg.is_truncated(data, image):
        raise DataError("truncated: a part of the photo is missing and would be grey")


@dataclass(frozen=True, slots=True)
class Preview:
    """A checked photo's size, and an image of it that is good enough for a thumbnail."""

    image: NDArray[np.uint8]
    """Grey (h, w) or RGB (h, w, 3), upright; at least half the photo's size."""
    width: int
    """Of the full photo in px, upright."""
    height: int


def preview_bytes(data: bytes) -> Preview:
    """Checks all of a photo's bytes as `decode_bytes` does, in half of the time for a large JPEG.

    A large JPEG is decoded to grey at half size, which still reads every bit but makes the inverse transform cheaper.
    Raises DataError as `decode_bytes` does.
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
    """Pixels before EXIF rotation, since OpenCV finds the orientation only in some places."""
    shrunk = 2 if flags == cv2.IMREAD_REDUCED_GRAYSCALE_2 else 1
    if flags != cv2.IMREAD_UNCHANGED:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise DataError(f"does not decode: {' '.join(str(error).split())}") from error
    if image is None:
        raise DataError("does not decode: the content is broken or truncated")
    if image.shape[:2] != (-(-header.height // shrunk), -(-header.width // shrunk)):
        raise DataError(
            f"decodes to {image.shape[1] * shrunk} x {image.shape[0] * shrunk} px; its header says"
            f" {header.width} x {header.height}"
        )
    return image


def _on_white(image: NDArray[Any]) -> NDArray[np.uint8]:
    """BGRA (h, w, 4) of 8 or 16 bits -> RGB (h, w, 3)."""
    photo = np.empty((*image.shape[:2], 3), np.uint8)
    for start in range(
        0, len(image), _ROWS_AT_ONCE
    ):  # in slices: intermediate results of a whole photo would take gigabytes
        rows = image[start : start + _ROWS_AT_ONCE]
        if rows.dtype == np.uint16:
            rows = (rows >> 8).astype(np.uint8)
        opaque = cv2.cvtColor(rows, cv2.COLOR_BGRA2RGB)
        alpha = rows[..., 3:].astype(np.uint16)
        mixed = opaque * alpha + 255 * (255 - alpha)  # at most 255 * 255: uint16 holds it
        photo[start : start + len(rows)] = (mixed + 127) // 255
    return photo


def _turned(photo: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Applies one of EXIF's eight orientations (tag 0x0112); 5 to 8 swap width and height."""
    if orientation >= 5:
        photo = photo.swapaxes(0, 1)
    mirrored, upside_down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return photo[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
