"""A photo is complete, upright and what a viewer shows, or it is refused."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from carcls.dataset import scan
from carcls.dataset.scan import scan_photo
from carcls.errors import DataError
from carcls.photos import jpeg
from carcls.photos.photo import decode_bytes, decode_verified, preview_bytes

KINDS = {
    "plain": {},
    "4:4:4": {"subsampling": 0},
    "optimised": {"optimize": True},
    "restarts": {"restart_marker_blocks": 7},
    "progressive": {"progressive": True},
    "progressive with restarts": {"progressive": True, "restart_marker_blocks": 9},
}
MODES = ("RGB", "L", "CMYK")


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    small = np.random.default_rng(width).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height)).convert(mode)


def saved(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def closed_at(data: bytes, share: float) -> bytes:
    """Truncated after a share of the pixel data, then closed with an end marker."""
    start = data.index(b"\xff\xda")
    return data[: start + int((len(data) - start) * share)] + b"\xff\xd9"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(320, 280), (97, 61)])
def test_a_jpeg_that_was_cut_off_and_closed_is_refused(kind, mode, size):
    whole = saved(noise(*size, mode), quality=90, **KINDS[kind])
    assert decode_bytes(whole).shape == (size[1], size[0], 3)
    assert preview_bytes(whole).width == size[0]
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95):
        for read in (decode_bytes, preview_bytes):
            with pytest.raises(DataError, match="truncated"):  # or broken, if a later scan's table is cut
                read(closed_at(whole, share))


def test_a_progressive_jpeg_that_ends_after_one_of_its_scans_is_refused():
    whole = saved(noise(320, 280), progressive=True)
    ends = [scan.end for scan in jpeg._frame(whole).scans]
    assert len(ends) > 5
    for end in ends[:-1]:
        with pytest.raises(DataError, match="truncated"):
            preview_bytes(whole[:end] + b"\xff\xd9")
    assert preview_bytes(whole[: ends[-1]] + b"\xff\xd9").width == 320


def test_a_photo_that_ends_in_grey_is_complete():
    """libjpeg fills missing pixels with mid-grey."""
    for options in KINDS.values():
        image = noise(320, 280)
        image.paste((128, 128, 128), (0, 200, 320, 280))
        data = saved(image, **options)
        assert tuple(decode_bytes(data)[-1, -1]) == (128, 128, 128)
        assert preview_bytes(data).height == 280


def test_verified_photos_decode_to_the_same_pixels_without_another_check(tmp_path):
    whole = saved(noise(320, 280))
    assert np.array_equal(decode_verified(whole), decode_bytes(whole))
    (tmp_path / "cut.jpg").write_bytes(closed_at(whole, 0.4))
    assert scan_photo(tmp_path / "cut.jpg").reason == "truncated: a part of the photo is missing and would be grey"
    assert decode_verified(closed_at(whole, 0.4)).shape == (280, 320, 3)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(16, 70),
    st.integers(16, 70),
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(MODES),
    st.integers(20, 95),
)
def test_whole_jpegs_are_never_refused(width, height, kind, mode, quality):
    data = saved(noise(width, height, mode), quality=quality, **KINDS[kind])
    assert decode_bytes(data).shape == (height, width, 3)
    assert decode_bytes(data + b"\xff\xd9 sent by a camera \xff\xd8").shape == (height, width, 3)


def tiff(orientation: int, order: str, kind: str) -> bytes:
    """An EXIF body whose orientation is a short (`H`) or a long (`I`)."""
    value = struct.pack(f"{order}{kind}", orientation).ljust(4, b"\0")
    entry = struct.pack(f"{order}HHI", 0x0112, {"H": 3, "I": 4}[kind], 1) + value
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 1)
    return head + entry + bytes(4)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_exif(data: bytes, exif: bytes) -> bytes:
    """EXIF in each format's place: in a JPEG after another APP1 segment, in a PNG before the pixels."""
    if data.startswith(b"\xff\xd8"):
        parts = [b"http://ns.adobe.com/xap/1.0/\0<x/>", exif]
        return data[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts) + data[2:]
    if data.startswith(b"\x89PNG"):
        return data[:33] + chunk(b"eXIf", exif) + data[33:]
    width, height = Image.open(io.BytesIO(data)).size
    extended = b"VP8X" + struct.pack("<I", 10) + bytes((0x08, 0, 0, 0))
    extended += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = extended + data[12:] + b"EXIF" + struct.pack("<I", len(exif)) + exif + bytes(len(exif) % 2)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("order", "kind"), [("<", "H"), (">", "H"), ("<", "I"), (">", "I")])
@pytest.mark.parametrize(
    ("file", "prefix"),
    [("JPEG", b"Exif\0\0"), ("PNG", b""), ("PNG", b"Exif\0\0"), ("WEBP", b""), ("WEBP", b"Exif\0\0")],
)
def test_orientation_is_found_wherever_viewers_find_it(file, prefix, order, kind, orientation):
    plain = saved(noise(40, 24), file)
    turned = decode_bytes(with_exif(plain, prefix + tiff(orientation, order, kind)))
    expected = decode_bytes(plain)
    if orientation >= 5:
        expected = expected.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        expected = expected[:, ::-1]
    if orientation in (3, 4, 7, 8):
        expected = expected[::-1]
    assert np.array_equal(turned, expected)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("alpha", [0, 4])
def test_of_an_animated_png_the_default_image_counts(first, alpha):
    """The default image need not be a frame of the animation; viewers of still images show it anyway."""
    channels = 4 if alpha else 3

    def rows(*colour: int) -> bytes:
        return zlib.compress(b"".join(b"\0" + bytes((*colour, 255)[:channels]) * 8 for _ in range(8)))

    def control(number: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 8, 8, 0, 0, 1, 10, 0, 0))

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2 | alpha, 0, 0, 0))
    frames = (control(0) if first else b"") + chunk(b"IDAT", rows(250, 0, 0))
    for number in (1, 3):
        frames += control(number) + chunk(b"fdAT", struct.pack(">I", number + 1) + rows(0, 250, 0))
    data = head + chunk(b"acTL", struct.pack(">II", 3 if first else 2, 0)) + frames + chunk(b"IEND", b"")
    assert decode_bytes(data)[4, 4].tolist() == [250, 0, 0]


SMALL = {
    "JPEG": {},
    "grey JPEG": {},
    "progressive JPEG": {"progressive": True},
    "PNG": {},
    "WEBP": {},
    "lossless WEBP": {"lossless": True},
}


@pytest.mark.parametrize("kind", SMALL)
def test_every_prefix_of_a_photo_is_a_photo_or_has_a_reason(kind, tmp_path):
    photo = noise(9, 7, "L" if kind.startswith("grey") else "RGB")
    data = saved(photo, kind.split()[-1], **SMALL[kind])
    for length in range(len(data)):
        for read in (decode_bytes, preview_bytes):
            with suppress(DataError):
                assert read(data[:length]) is not None
    (tmp_path / "whole").write_bytes(data)
    assert scan_photo(tmp_path / "whole").reason == ""


def test_a_jpeg_cut_after_its_width_has_a_reason(tmp_path):
    data = saved(noise(400, 300))
    start = next(start for marker, start, _ in jpeg.segments(data) if marker == 0xC0)
    (tmp_path / "cut.jpg").write_bytes(data[: start + 5])
    assert scan_photo(tmp_path / "cut.jpg").reason == "does not decode: the content is broken or truncated"


@pytest.mark.parametrize("error", [IndexError("out of range"), struct.error("too short"), ValueError("negative")])
def test_a_scan_of_a_header_that_no_check_foresaw_has_a_reason(error, tmp_path, monkeypatch):
    def preview(data: bytes) -> None:
        raise error

    monkeypatch.setattr(scan, "preview_bytes", preview)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8")
    assert scan_photo(tmp_path / "a.jpg").reason == f"its header cannot be read: {type(error).__name__}: {error}"
