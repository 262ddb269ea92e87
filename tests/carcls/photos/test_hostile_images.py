"""Photos that are more expensive than they look: misleading headers, endless scans, countless chunks."""

import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings

from carcls.errors import DataError
from carcls.photos import jpeg
from carcls.photos.headers import read_header
from carcls.photos.photo import decode_bytes, preview_bytes
from tests.helpers.mutations import mutated, refusal
from tests.helpers.photos.hostile import photo

NOISE = cv2.resize(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8), (400, 300))


def encoded(image, *flags) -> bytes:
    return cv2.imencode(".jpg", image, list(flags))[1].tobytes()


JPEG = encoded(NOISE)
PROGRESSIVE = encoded(NOISE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)


def frame(width: int, height: int) -> bytes:
    """The frame header of `JPEG` with another size."""
    at = JPEG.index(b"\xff\xc0")
    (length,) = struct.unpack_from(">H", JPEG, at + 2)
    return JPEG[at : at + 5] + struct.pack(">HH", height, width) + JPEG[at + 9 : at + 2 + length]


HIDING = {
    "a restart marker": b"\xff\xd0",
    "seven restart markers": bytes(byte for number in range(7) for byte in (0xFF, 0xD1 + number)),
    "a temporary marker": b"\xff\x01",
    "bytes between segments": b"\x00\x10\x20",
    "stuffed bytes": b"\xff\x00" * 50,
    "fill bytes": b"\xff" * 500,
    "a segment without content": b"\xff\xe3\x00\x02",
    "a segment shorter than its length": b"\xff\xe3\x00\x00",
}


@pytest.mark.parametrize("what", HIDING)
def test_no_marker_hides_how_large_a_photo_is(what):
    """A parser that treats every marker as a segment sees another frame here; libjpeg sees the first."""
    at = 4 + struct.unpack_from(">H", JPEG, 4)[0]  # after the first segment, which OpenCV requires at the start
    hidden = JPEG[:at] + HIDING[what] + frame(30_000, 30_000) + JPEG[at:]
    for decode in (decode_bytes, preview_bytes):
        with pytest.raises(DataError, match="claims 30000 x 30000 px; at most 100 megapixels"):
            decode(hidden)
    harmless = JPEG[:at] + HIDING[what] + JPEG[at:]
    assert decode_bytes(harmless).shape == (300, 400, 3)


def test_a_frame_inside_a_segment_is_ignored():
    thumbnail = frame(30_000, 30_000)
    held = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + JPEG[2:]
    assert decode_bytes(held).shape == (300, 400, 3)


def test_a_scan_before_the_frame_is_refused():
    at = JPEG.index(b"\xff\xda")
    assert jpeg.size(JPEG[:2] + JPEG[at:]) is None
    with pytest.raises(DataError):
        decode_bytes(JPEG[:2] + JPEG[at:])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(content=mutated((JPEG, PROGRESSIVE, photo("PNG"), photo("PNG", "RGBA"), photo("WEBP"), photo("WEBP", "RGBA"))))
def test_a_decoded_photo_has_the_size_of_its_header(content):
    """Damage may blur a photo, but its size is always the one that was checked before pixels were allocated."""
    found = []
    if refusal(DataError, lambda: found.append(decode_bytes(content))) is None:
        header = read_header(content)
        assert found[0].shape[:2] in ((header.height, header.width), (header.width, header.height))


def with_scans(data: bytes, count: int) -> bytes:
    """A progressive JPEG with its last scan repeated `count` times, which does not change the coefficients."""
    start, end = data.rindex(b"\xff\xda"), len(data) - 2
    return data[:end] + data[start:end] * count + data[end:]


def test_scans_are_counted_before_they_are_decoded():
    usual = jpeg.scan_count(PROGRESSIVE)
    assert usual == 10
    reason = refusal(DataError, lambda: decode_bytes(with_scans(PROGRESSIVE, 90)))
    assert "scans" not in (reason or "")
    for decode in (decode_bytes, preview_bytes):
        with pytest.raises(DataError, match="has 101 scans; at most 100 are decoded at 400 x 300 px"):
            decode(with_scans(PROGRESSIVE, 91))


def test_a_large_photo_may_have_fewer_scans():
    large = encoded(np.zeros((6000, 9000), np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    allowed = 2_000_000_000 // (6000 * 9000)
    with pytest.raises(DataError, match=f"has {allowed + 1} scans; at most {allowed} are decoded"):
        decode_bytes(with_scans(large, allowed + 1 - jpeg.scan_count(large)))


def test_scans_after_a_complete_one_are_not_read():
    """Cameras store a preview or a video after the photo."""
    assert jpeg.scan_count(JPEG) == 1
    assert decode_bytes(JPEG + JPEG * 200).shape == (300, 400, 3)
    assert decode_bytes(PROGRESSIVE + PROGRESSIVE * 20).shape == (300, 400, 3)


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\x00", b"\xff\x01", b"\xff\xd0", b"\xfe"])
def test_megabytes_without_a_frame_are_passed_over_at_once(filling):
    """Each once took a Python step per byte, or a quadratic number of steps."""
    data = b"\xff\xd8" + filling * (2 * 2**20 // len(filling))
    with pytest.raises(DataError, match=r"header is truncated|broken JPEG segments"):
        decode_bytes(data)
    assert sum(1 for _ in jpeg.segments(data)) == 0


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour: int, *between: bytes, pixels: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"".join((b"\x89PNG\r\n\x1a\n", header, *between, chunk(b"IDAT", pixels), chunk(b"IEND", b"")))


@pytest.mark.parametrize(
    ("data", "most"),
    [
        (png(10_001, 10_000, 8, 2), 100),
        (png(10_000, 5_001, 16, 6), 50),
        (png(10_000, 5_001, 16, 4), 50),
        (png(10_000, 5_001, 16, 2, chunk(b"tRNS", bytes(6))), 50),
    ],
)
def test_pixels_are_counted_by_what_they_take(data, most):
    with pytest.raises(DataError, match=f"at most {most} megapixels are decoded"):
        decode_bytes(data)


def test_chunks_are_counted():
    pixels = zlib.compress(bytes(4))
    with pytest.raises(DataError, match="more than 100,000 chunks"):
        decode_bytes(png(1, 1, 8, 2, chunk(b"prIv", b"") * 100_001, pixels=pixels))
    assert decode_bytes(png(1, 1, 8, 2, chunk(b"prIv", b"") * 1000, pixels=pixels)).shape == (1, 1, 3)


@pytest.mark.parametrize("length", [100, 0x7F000000, 0xFFFFFFFF])
def test_a_chunk_that_claims_more_than_the_file_is_refused_unread(length, monkeypatch):
    """OpenCV would allocate 2 GB first."""
    whole = png(1, 1, 8, 2, pixels=zlib.compress(bytes(4)))
    at = whole.index(b"IDAT") - 4
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(DataError, match="broken or truncated"):
        decode_bytes(whole[:at] + struct.pack(">I", length) + whole[at + 4 :])


def test_bytes_after_the_last_chunk_are_ignored():
    whole = png(1, 1, 8, 2, pixels=zlib.compress(bytes(4)))
    assert decode_bytes(whole + struct.pack(">I", 0x7F000000) + b"tRNS").shape == (1, 1, 3)
    assert not read_header(whole + chunk(b"tRNS", bytes(6))).has_alpha


def test_transparency_is_mixed_with_white_in_every_row():
    image = np.random.default_rng(1).integers(0, 256, (700, 50, 4), dtype=np.uint8)
    expected = np.round((image[..., :3].astype(float) * image[..., 3:] + 255.0 * (255 - image[..., 3:])) / 255)
    found = decode_bytes(cv2.imencode(".png", image)[1].tobytes())
    np.testing.assert_array_equal(found[..., ::-1], expected.astype(np.uint8))


_PEAK = """
import resource, sys
from carcls.photos.photo import decode_bytes
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(decode_bytes(data).shape, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "depth", "colour", "channels", "most_mb"),
    [(10_000, 16, 2, 3, 650), (10_000, 8, 6, 4, 850), (7_071, 16, 6, 4, 1200)],
)
def test_the_largest_photos_stay_within_the_stated_memory(side, depth, colour, channels, most_mb):
    row = b"\0" + bytes(side * channels * depth // 8)
    packer = zlib.compressobj(1)
    pixels = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    data = png(side, side, depth, colour, pixels=pixels)
    ran = subprocess.run([sys.executable, "-c", _PEAK], input=data, capture_output=True, check=True, env=os.environ)
    shape, peak_mb = ran.stdout.decode().rsplit(" ", 1)
    assert shape == f"({side}, {side}, 3)"
    assert int(peak_mb) < most_mb
