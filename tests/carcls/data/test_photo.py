import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from carcls.data import photo
from carcls.data.headers import read_header
from carcls.data.photo import decode_bytes, digest_of, read_photo_bytes
from carcls.errors import DataError

GRADIENT = np.dstack([np.tile(np.linspace(0, 250, 40, dtype=np.uint8), (30, 1))] + [np.zeros((30, 40), np.uint8)] * 2)


def size(data: bytes) -> tuple[int, int]:
    header = read_header(data)
    return header.width, header.height


def encoded(kind: str, image=GRADIENT) -> bytes:
    return cv2.imencode(kind, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
def test_reads_each_format_as_rgb(kind):
    image = decode_bytes(encoded(kind))
    assert image.shape == (30, 40, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - GRADIENT).mean() < 6  # red rises to the right, also after a lossy codec


def test_turns_a_photo_as_its_exif_orientation_says():
    upright = decode_bytes(encoded(".jpg"))
    turned = decode_bytes(with_orientation(encoded(".jpg"), 6))
    assert np.array_equal(turned, np.rot90(upright, -1))


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
def test_header_size_is_the_decoded_size(kind):
    for shape in ((1, 1, 3), (7, 300, 3), (513, 2, 3)):
        assert size(encoded(kind, np.zeros(shape, np.uint8))) == (shape[1], shape[0])


def test_lossless_and_extended_webp_headers():
    lossless = cv2.imencode(".webp", np.zeros((5, 300, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    assert size(lossless) == (300, 5)
    extended = b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + (69_999).to_bytes(3, "little") + (4).to_bytes(3, "little")
    assert size(extended) == (70_000, 5)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"broken", "not a JPEG, PNG or WebP file"),
        (b" \n<!DOCTYPE html><title>not found", "a web page; expected a JPEG, PNG or WebP file"),
        (bytes(99), "nothing but zeros"),
        (b"GIF89a", "a GIF file"),
        (b"BM\0\0", "a BMP file"),
        (b"MM\0*", "a TIFF file"),
        (b"\0\0\0\x1cftypavif", "an AVIF file"),
        (b"\0\0\0\x1cftypheic", "a HEIC file"),
        (b"\0\0\0\x1cftypisom", "a video"),
        (b"\x89PNG\r\n\x1a\n\0\0", "header is cut short"),
        (b"\xff\xd8", "header is cut short"),
        (b"\xff\xd8\0\0\0", "broken JPEG segments"),
        (encoded(".jpg")[:200], "cut short"),
        (encoded(".png")[:60], "does not decode"),
        (png_claiming(10_001, 10_000), "claims 10001 x 10000 px; at most 100 megapixels"),
        (png_claiming(2**31 - 1, 2**31 - 1), "at most 100 megapixels"),
    ],
)
def test_says_why_a_photo_does_not_decode(data, reason):
    with pytest.raises(DataError, match=reason):
        decode_bytes(data)


def test_reads_regular_files_only(tmp_path: Path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "absent.jpg", "no such file"),
        (tmp_path / "a\0b", "cannot be read"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
    ):
        with pytest.raises(DataError, match=reason):
            read_photo_bytes(path)
    (tmp_path / "large").write_bytes(b"12345")
    assert read_photo_bytes(tmp_path / "large") == b"12345"
    monkeypatch.setattr(photo, "MAX_FILE_BYTES", 4)
    with pytest.raises(DataError, match="file of 5 bytes; at most 4"):
        read_photo_bytes(tmp_path / "large")


def test_digest_is_blake2b_of_128_bits():
    assert digest_of(b"") == "cae66941d9efbd404e4d88758ea67670"  # RFC 7693's function, digest length 16
    assert digest_of(b"a") != digest_of(b"b")


def test_opencv_keeps_to_one_thread():
    assert cv2.getNumThreads() in (0, 1)  # 0 asked for; how it reads back depends on the build
