import io
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from carcls.errors import DataError
from carcls.photos import photo
from carcls.photos.exif import _orientation as exif_orientation
from carcls.photos.headers import read_header
from carcls.photos.photo import decode_bytes, digest_of, preview_bytes, read_photo_bytes

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
        (b"\x89PNG\r\n\x1a\n\0\0", "header is truncated"),
        (b"\xff\xd8", "header is truncated"),
        (b"\xff\xd8\0\0\0", "broken JPEG segments"),
        (encoded(".jpg")[:200], "truncated"),
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
    assert cv2.getNumThreads() in (0, 1)  # set to 0; what it returns depends on the build


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


INKS = (
    ((0, 0, 0, 0), (255, 255, 255)),
    ((255, 0, 0, 0), (0, 255, 255)),
    ((0, 255, 255, 0), (255, 0, 0)),
    ((0, 0, 0, 255), (0, 0, 0)),
)
"""Pure cyan and pure black ink, inverted and with Adobe's marker, as photo editors write them."""


@pytest.mark.parametrize(("inks", "colour"), INKS)
def test_cmyk_comes_out_in_its_colours(inks, colour):
    data = saved(Image.new("CMYK", (32, 32), inks), "JPEG", quality=95)
    assert b"Adobe" in data
    assert np.abs(decode_bytes(data).astype(int) - colour).max() <= 2


OPAQUE, HIDDEN, HALF = (10, 200, 30, 255), (250, 0, 0, 0), (0, 100, 255, 128)
HALF_ON_WHITE = (127, 177, 255)  # 128 parts of the colour, 127 of white, of 255


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_transparent_parts_are_white_and_half_transparent_ones_mixed(kind, options):
    image = Image.new("RGBA", (9, 5), OPAQUE)
    image.paste(HIDDEN, (0, 0, 3, 5))
    image.paste(HALF, (3, 0, 6, 5))
    row = decode_bytes(saved(image, kind, **options))[2]
    assert row[[0, 4, 8]].tolist() == [[255, 255, 255], list(HALF_ON_WHITE), list(OPAQUE[:3])]


def test_a_transparent_palette_colour_is_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.putpixel((0, 0), 0)
    decoded = decode_bytes(saved(image, "PNG", transparency=0))
    assert decoded[0, 0].tolist() == [255, 255, 255]
    assert decoded[3, 3].tolist() == [0, 200, 0]


def test_sixteen_bits_with_transparency_become_eight():
    image = np.full((3, 3, 4), 0x80FF, np.uint16)
    image[0, 0, 3] = 0
    image[1, 1, 3] = 0xFFFF
    decoded = decode_bytes(cv2.imencode(".png", image)[1].tobytes())
    assert decoded.dtype == np.uint8
    assert decoded[0, 0].tolist() == [255] * 3
    assert decoded[1, 1].tolist() == [0x80] * 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparent_photos_are_turned_as_opaque_ones(kind, orientation):
    """OpenCV rotates opaque photos by itself."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8))
    clear = noise.convert("RGBA")
    clear.putpixel((0, 0), (*noise.getpixel((0, 0)), 254))  # otherwise the encoder drops an opaque alpha channel
    options = {"exif": exif} | ({"lossless": True} if kind == "WEBP" else {})
    opaque, mixed = decode_bytes(saved(noise, kind, **options)), decode_bytes(saved(clear, kind, **options))
    assert opaque.shape == mixed.shape == ((7, 5, 3) if orientation > 4 else (5, 7, 3))
    assert np.abs(opaque.astype(int) - mixed).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_first_frame_of_an_animation_counts(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((200, 10, 10), (10, 200, 10))]
    decoded = decode_bytes(saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50))
    assert np.abs(decoded.astype(int) - (200, 10, 10)).max() <= 3


@pytest.mark.parametrize("exif", [b"", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff", b"Exif\0\0II"])
def test_a_broken_orientation_is_none(exif):
    assert exif_orientation(exif) == 1


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBPVP8X", b"\0\0\0\0ftyp"]),
)
def test_any_bytes_give_an_image_or_a_reason(body, head):
    with suppress(DataError):
        assert decode_bytes(head + body).ndim == 3


def jpeg_of(width: int, height: int, **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return saved(Image.fromarray(noise).resize((width, height)), "JPEG", quality=90, **options)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize(("width", "height"), [(401, 300), (300, 301), (256, 700), (255, 400)])
def test_a_preview_has_the_photos_size_and_resembles_it(width, height, orientation):
    data = with_orientation(jpeg_of(width, height), orientation)
    photo, preview = decode_bytes(data), preview_bytes(data)
    assert (preview.height, preview.width) == photo.shape[:2]
    assert preview.image.shape[0] >= photo.shape[0] / 2
    pictures = [
        image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (photo, preview.image)
    ]
    small = [cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA) for picture in pictures]
    # A wrongly rotated or mirrored picture differs by 50 levels.
    assert np.abs(small[0].astype(int) - small[1]).mean() < 6


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
def test_a_preview_is_refused_if_the_photo_is(options):
    whole = jpeg_of(320, 280, **options)
    assert preview_bytes(whole).width == 320
    for length in range(0, len(whole), len(whole) // 40):
        refused = []
        for read in (decode_bytes, preview_bytes):
            try:
                read(whole[:length])
                refused.append("")
            except DataError as error:
                refused.append(str(error))
        assert refused[0] == refused[1] != "", f"cut to {length} of {len(whole)} bytes"
