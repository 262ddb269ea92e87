"""One photo file -> bytes -> pixels, with nothing about the file trusted: kind, size and content are checked."""

import hashlib
import stat
import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.errors import DataError

MAX_PIXELS = 100_000_000
"""A photo that claims more is taken for a decompression bomb; decoded, this many are 300 MB."""
MAX_FILE_BYTES = 256 * 2**20

# OpenCV would start a thread per core in every process and thread of ours that decodes or augments; those
# already fill the cores, and its own threads only wait for each other.
cv2.setNumThreads(0)


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

    Raises DataError with the reason alone: another format, more than MAX_PIXELS, or content that does not decode.
    """
    width, height = _header_size(data)
    if width * height > MAX_PIXELS:
        raise DataError(f"claims {width} x {height} px; at most {MAX_PIXELS // 10**6} megapixels are decoded")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except (cv2.error, MemoryError) as error:
        raise DataError(f"does not decode: {error}") from error
    if image is None:
        raise DataError("does not decode: the content is broken or cut short")
    return image


def _header_size(data: bytes) -> tuple[int, int]:
    """(width, height) in px as the header claims them, before anything is allocated for the pixels."""
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg_size(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return struct.unpack(">II", data[16:24])
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
    except struct.error:
        raise DataError("the header is cut short") from None
    raise DataError("empty file" if not data else "not a JPEG, PNG or WebP file")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walks the segments to the frame header (ITU T.81, B.2.2); thumbnails inside other segments are skipped."""
    position = 2
    while True:
        lead, marker = struct.unpack_from(">BB", data, position)
        if lead != 0xFF:
            raise DataError("does not decode: broken JPEG segments")
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame, not a table
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        (length,) = struct.unpack_from(">H", data, position + 2)
        position += 2 + length


def _webp_size(data: bytes) -> tuple[int, int]:
    """Canvas of the three kinds of WebP files (RFC 9649, section 2)."""
    if data[12:16] == b"VP8X":
        return _uint24(data, 24) + 1, _uint24(data, 27) + 1
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _uint24(data: bytes, position: int) -> int:
    low, high = struct.unpack_from("<HB", data, position)
    return int(low | high << 16)
