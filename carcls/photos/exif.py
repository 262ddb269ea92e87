"""The EXIF orientation of a photo, from every place where viewers look. OpenCV misses some of them."""

import struct
from itertools import takewhile

from carcls.photos import jpeg, png

UPRIGHT = 1

_TAG = 0x0112
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
"""TIFF's integer types as struct codes. The standard asks for 3, a short; some programs write a long."""
_APP1, _SOS = 0xE1, 0xDA
_MAX_CHUNKS = 1_000
"""Chunks of a WebP file that are read. A still image has about five; an animation stores EXIF before or after its
frames."""
_PREFIX = b"Exif\0"
"""Precedes the TIFF header in a JPEG, plus one byte of any value; some programs write it to WebP and PNG files too."""


def orientation_of(data: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 (upright) if the file has none or an invalid one."""
    if data.startswith(jpeg.SIGNATURE):
        before = takewhile(lambda segment: segment[0] != _SOS, jpeg.segments(data))
        parts = (data[start:stop] for marker, start, stop in before if marker == _APP1)
        return _orientation(next((part for part in parts if part.startswith(_PREFIX)), b""))
    if data.startswith(png.SIGNATURE):
        parts = (data[start:stop] for name, start, stop in png.chunks(data) if name == b"eXIf")
        return _orientation(next(parts, b""))
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X":
        return _orientation(_webp_exif(data))
    return UPRIGHT


def _webp_exif(data: bytes) -> bytes:
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            break
        name, length = struct.unpack_from("<4sI", data, position)
        if name == b"EXIF":
            return data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return b""


def _orientation(exif: bytes) -> int:
    """Orientation in the first image file directory (TIFF 6.0, section 2)."""
    tiff = exif[len(_PREFIX) + 1 :] if exif.startswith(_PREFIX) else exif
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, first)
        for entry in range(count):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, first + 2 + 12 * entry)
            if tag == _TAG and kind in _TYPES:
                (value,) = struct.unpack_from(f"{order}{_TYPES[kind]}", tiff, first + 10 + 12 * entry)
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT
