"""Format, size and transparency from a file's header, before anything is decoded."""

import struct
from dataclasses import dataclass

from carcls.errors import DataError
from carcls.photos import jpeg
from carcls.photos.png import chunks

_MAX_CHUNKS = 100_000
"""Chunks of a PNG file. Encoders write 8 KB of pixels per chunk, so the largest accepted photo has 75,000."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a photo claims to be."""

    width: int
    """In px, before EXIF rotation."""
    height: int
    has_alpha: bool
    is_deep: bool = False
    """16 bits per channel."""


_OTHER_FORMATS = (
    (0, b"GIF8", "a GIF file"),
    (0, b"BM", "a BMP file"),
    (0, b"II*\0", "a TIFF file"),
    (0, b"MM\0*", "a TIFF file"),
    (0, b"\xff\x0a", "a JPEG XL file"),
    (4, b"JXL ", "a JPEG XL file"),
    (4, b"jP  ", "a JPEG 2000 file"),
    *((4, b"ftyp" + brand, "an AVIF file") for brand in (b"avif", b"avis")),
    *((4, b"ftyp" + brand, "a HEIC file") for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")),
    (4, b"ftyp", "a video"),
    (0, b"%PDF", "a PDF file"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, bytes(16), "nothing but zeros"),
)
"""Offset and value of signatures; the first match counts. `ftyp` brands as in ISO/IEC 14496-12 and 23008-12."""


_NO_PICTURES = ("a PDF file",)
HEAD_BYTES = 32
"""Bytes needed to match every signature."""


def read_header(data: bytes) -> Header:
    """The header of a JPEG, PNG or WebP file.

    Raises DataError with only the reason: an empty file, another format, or a truncated header.
    """
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except struct.error:
        raise DataError("the header is truncated") from None
    raise DataError(_what_it_is(data))


def has_photo_signature(data: bytes) -> bool:
    """Whether a file begins with the signature of a picture format, supported or not."""
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return True
    name = next((name for place, sign, name in _OTHER_FORMATS if data.startswith(sign, place)), "")
    return name.endswith(" file") and name not in _NO_PICTURES and (name != "a BMP file" or data[6:10] == bytes(4))


def _what_it_is(data: bytes) -> str:
    if not data:
        return "empty file"
    for place, sign, name in _OTHER_FORMATS:
        if data.startswith(sign, place):
            return f"{name}; expected a JPEG, PNG or WebP file"
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "a web page; expected a JPEG, PNG or WebP file"
    return "not a JPEG, PNG or WebP file"


def _jpeg(data: bytes) -> Header:
    found = jpeg.size(data)
    if found is not None:
        return Header(*found, has_alpha=False)
    if data[2:3] in (b"", b"\xff"):
        raise DataError("the header is truncated")
    raise DataError("does not decode: broken JPEG segments")


def _png(data: bytes) -> Header:
    """PNG specification, 11.2: the colour type's third bit is alpha; a tRNS chunk makes a colour transparent."""
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    has_alpha = bool(colour & 4)
    for number, (name, _, stop) in enumerate(chunks(data)):
        if stop > len(data):  # OpenCV allocates the size that a chunk declares before it reads: up to 2 GB
            raise DataError("does not decode: the content is broken or truncated")
        has_alpha = has_alpha or name == b"tRNS"
        if number == _MAX_CHUNKS:
            raise DataError(f"more than {_MAX_CHUNKS:,} chunks")
    return Header(width, height, has_alpha, is_deep=depth == 16)


def _webp(data: bytes) -> Header:
    """Canvas size and alpha of the three kinds of WebP files (RFC 9649, section 2)."""
    if data[12:16] == b"VP8X":
        return Header(_uint24(data, 24) + 1, _uint24(data, 27) + 1, has_alpha=bool(data[20] & 0x10))
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1))
    width, height = struct.unpack_from("<HH", data, 26)
    return Header(width & 0x3FFF, height & 0x3FFF, has_alpha=False)


def _uint24(data: bytes, position: int) -> int:
    low, high = struct.unpack_from("<HB", data, position)
    return int(low | high << 16)
