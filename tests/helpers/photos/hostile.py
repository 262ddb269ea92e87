"""Hostile files and folders with their expected outcomes, for test_hostile_photos.py."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 32, 24
_NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Case:
    """One file in the competition's layout, its row in train.csv, and the expected outcome."""

    what: str
    path: str
    make: bytes | Callable[[Path], None]
    """Bytes of the file, or a function that creates it."""
    row: str | None
    """Id,Category, or None for a file without a row."""
    outcome: str


def photo(kind: str, mode: str = "RGB", **options: object) -> bytes:
    """Noise as a file of this format and mode. Raises what Pillow raises."""
    file = io.BytesIO()
    Image.fromarray(_NOISE).convert(mode).save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return photo("JPEG", exif=exif)


def animated(kind: str) -> bytes:
    return photo(kind, save_all=True, append_images=[Image.fromarray(255 - _NOISE)], duration=50)


def png16() -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in _NOISE.astype(np.uint16) * 257)
    return png(WIDTH, HEIGHT, 16, zlib.compress(rows))


def png(width: int, height: int, depth: int, pixels: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(photo("JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def closed(path: Path) -> None:
    path.write_bytes(photo("JPEG"))
    path.chmod(0)


def nothing(path: Path) -> None:
    """Creates nothing: the row names a missing file."""


JPEG = photo("JPEG")
_TRAINED, _SIDEWAYS = f"trained, {WIDTH} × {HEIGHT} px", f"trained, {HEIGHT} × {WIDTH} px"
_EXPECTED = "expected a JPEG, PNG or WebP file"
_BROKEN = "does not decode: the content is broken or truncated"
_CUT = "truncated: a part of the photo is missing and would be grey"
_NO_FILE = "no such file"
_BESIDES = "in no row of train.csv"
_OUTSIDE = "a link that leaves the data folder"
_NESTED = "left out: a folder inside a class folder; its photos are not used"
JUNK = (".DS_Store", "Thumbs.db", "._1.jpg")


def _row(what: str, path: str, row: str, reason: str) -> Case:
    return Case(what, path, nothing, row, f"left out: {reason}")


def _read(what: str, name: str, make: bytes, outcome: str = _TRAINED) -> Case:
    return Case(what, f"train/0/{name}", make, f"{name},0", outcome)


def _left(what: str, name: str, make: bytes | Callable[[Path], None], reason: str) -> Case:
    return Case(what, f"train/0/{name}", make, f"{name},0", f"left out: {reason}")


PHOTOS = (
    *(_read(f"photo {number}, sound", f"sound{number}.jpg", photo("JPEG", quality=60 + number)) for number in range(4)),
    _read("upper-case ending", "UPPER.JPG", JPEG),
    _read("PNG named .jpg", "png.jpg", photo("PNG")),
    _read("WebP named .png", "webp.png", photo("WEBP")),
    _read("no ending", "noending", JPEG),
    _read("JPEG in CMYK", "cmyk.jpg", photo("JPEG", "CMYK")),
    _read("JPEG in grey", "grey.jpg", photo("JPEG", "L")),
    _read("progressive JPEG", "progressive.jpg", photo("JPEG", progressive=True)),
    _read("PNG with a palette", "palette.png", photo("PNG", "P")),
    _read("PNG of 1 bit", "onebit.png", photo("PNG", "1")),
    _read("PNG of 16 bits a channel", "deep.png", png16()),
    _read("PNG with transparency", "alpha.png", photo("PNG", "RGBA")),
    _read("grey PNG with transparency", "greyalpha.png", photo("PNG", "LA")),
    _read("WebP with transparency", "alpha.webp", photo("WEBP", "RGBA")),
    _read("animated WebP: its first frame", "animated.webp", animated("WEBP")),
    _read("animated PNG: its first frame", "animated.png", animated("PNG")),
    *(
        _read(f"EXIF orientation {number}", f"exif{number}.jpg", turned(number), _SIDEWAYS if number > 4 else _TRAINED)
        for number in range(1, 9)
    ),
    _read("photo of 1 × 1 px", "pixel.png", png(1, 1, 8, zlib.compress(bytes(4))), "trained, 1 × 1 px"),
    _read("bytes after the end", "tail.jpg", JPEG + b"sent by a camera", _TRAINED),
    _read("name in Cyrillic, with spaces", "Лада Калина.jpg", JPEG),
    _left("truncated JPEG", "cut.jpg", JPEG[: len(JPEG) * 2 // 3], _BROKEN),
    _left("JPEG cut off and closed again", "closed-cut.jpg", JPEG[: len(JPEG) * 2 // 3] + b"\xff\xd9", _CUT),
    _left(
        "progressive JPEG cut off and closed again",
        "progressive-cut.jpg",
        photo("JPEG", progressive=True)[:-60] + b"\xff\xd9",
        _CUT,
    ),
    _left("truncated PNG", "cut.png", photo("PNG")[:-100], _BROKEN),
    _left("truncated WebP", "cut.webp", photo("WEBP")[:-100], _BROKEN),
    _left("JPEG that ends in zeros", "zerotail.jpg", JPEG[: len(JPEG) // 2] + bytes(len(JPEG) // 2), _BROKEN),
    _left("header alone", "header.jpg", JPEG[:20], "the header is truncated"),
    _left("zero bytes", "empty.jpg", b"", "empty file"),
    _left("nothing but zeros", "zeros.jpg", bytes(500), f"nothing but zeros; {_EXPECTED}"),
    _left("text named .jpg", "text.jpg", b"see attachment\n", "not a JPEG, PNG or WebP file"),
    _left("web page named .jpg", "page.jpg", b"<!DOCTYPE html>\n<title>404", f"a web page; {_EXPECTED}"),
    _left("GIF, also animated", "moving.gif", animated("GIF"), f"a GIF file; {_EXPECTED}"),
    _left("BMP", "photo.bmp", photo("BMP"), f"a BMP file; {_EXPECTED}"),
    _left("TIFF", "photo.tif", photo("TIFF"), f"a TIFF file; {_EXPECTED}"),
    _left("AVIF", "photo.avif", photo("AVIF"), f"an AVIF file; {_EXPECTED}"),
    _left("HEIC named .jpg", "heic.jpg", b"\0\0\0\x18ftypheic\0\0\0\0", f"a HEIC file; {_EXPECTED}"),
    _left(
        "PNG that claims 40,000 × 40,000 px",
        "bomb.png",
        png(40_000, 40_000, 8, zlib.compress(bytes(99))),
        "claims 40000 x 40000 px; at most 100 megapixels are decoded",
    ),
    _left(
        "JPEG that claims 65,000 × 65,000 px",
        "bomb.jpg",
        jpeg_claiming(65_000, 65_000),
        "claims 65000 x 65000 px; at most 100 megapixels are decoded",
    ),
    _left("file that may not be read", "closed.jpg", closed, "cannot be read: Permission denied"),
    _left("folder named .jpg", "folder.jpg", Path.mkdir, "a folder, not a photo"),
    _left("pipe", "pipe.jpg", os.mkfifo, "not a regular file"),
    _left("link to nothing", "dangling.jpg", link_to("gone.jpg"), "a link to nothing"),
    _left("link in a circle", "circle.jpg", link_to("circle.jpg"), "a link to nothing"),
    _left("link out of the data folder", "outside.jpg", link_to("../../../outside.jpg"), _OUTSIDE),
    Case("link inside the data folder", "train/0/inside.jpg", link_to("../1/1.jpg"), "inside.jpg,0", _TRAINED),
    Case("file that is missing", "train/0/missing.jpg", nothing, "missing.jpg,0", f"left out: {_NO_FILE}"),
    Case("name of 300 letters", f"train/0/{'x' * 300}", nothing, f"{'x' * 300},0", f"left out: {_NO_FILE}"),
    Case("photo in another class's folder", "train/1/astray.jpg", JPEG, None, f"left out: {_BESIDES}"),
    Case("the row of that photo", "train/0/astray.jpg", nothing, "astray.jpg,0", f"left out: {_NO_FILE}"),
    Case("file in no row", "train/0/norow.jpg", JPEG, None, f"left out: {_BESIDES}"),
    Case("file beside the class folders", "train/loose.jpg", JPEG, None, f"left out: {_BESIDES}"),
    Case("folder inside a class folder", "train/1/more", Path.mkdir, None, _NESTED),
    *(Case(f"`{name}`", f"train/0/{name}", b"\0", None, "passed over") for name in JUNK),
)
_NAME, _CATEGORY = "is not a plain file name", "is not a plain folder name"
ROWS = (
    _row("Id with `..`", "train/0/../1/1.jpg", "../1/1.jpg,0", f"Id '../1/1.jpg' {_NAME}"),
    _row("Id with `/`", "train/0/a/b.jpg", "a/b.jpg,0", f"Id 'a/b.jpg' {_NAME}"),
    _row("Id with a backslash", "train/0/a\\b.jpg", "a\\b.jpg,0", f"Id 'a\\\\b.jpg' {_NAME}"),
    _row("absolute Id", "train/0//etc/passwd", "/etc/passwd,0", f"Id '/etc/passwd' {_NAME}"),
    _row("Id with a zero byte", "train/0/a\0b.jpg", "a\0b.jpg,0", f"Id 'a\\x00b.jpg' {_NAME}"),
    _row("Category with `..`", "train/../d.jpg", "d.jpg,..", f"Category '..' {_CATEGORY}"),
    _row("row without Category", "train/e.jpg", "e.jpg,", "row without Category"),
    _row("row without Id", "train/0", ",0", "row without Id"),
    _row("row too long", "train/0/f.jpg", "f.jpg,0,1", "more fields than the first line has names"),
    Case(
        "two rows of one Id and class",
        "train/1/twice.jpg",
        JPEG,
        "twice.jpg,1\ntwice.jpg,1",
        f"{_TRAINED}; the other left out: Id already occurs in line N",
    ),
    Case(
        "two rows of one Id and two classes: neither is used",
        "train/0/torn.jpg",
        JPEG,
        "torn.jpg,0\ntorn.jpg,1",
        "left out: Id also occurs in line N with another label; it is unknown which one is right",
    ),
    Case("class of one photo", "train/2/single.jpg", JPEG, "single.jpg,2", _TRAINED),
    Case("class without a readable photo", "train/3/only.jpg", b"", "only.jpg,3", "left out: empty file"),
)
