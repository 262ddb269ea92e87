"""A JPEG file's segments, and whether its pixels are all there: libjpeg fills what is missing with grey, and warns."""

import hashlib
import io
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import JpegImagePlugin

SIGNATURE = b"\xff\xd8"

_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length: TEM, RST0 to RST7, SOI (ITU T.81, table B.1)."""
_RST0, _EOI, _SOS = 0xD0, 0xD9, 0xDA
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
"""Frames coded by Huffman. Arithmetic coders may leave out bytes at a scan's end, so that nothing can be told of it."""
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""The end of a scan's data: a marker that is no stuffed byte and no restart. It may have any number of 0xFF before it;
a pattern that took them too would try each of them as the first."""
_MAX_MARKERS = 10_000
"""Of one file that is walked: cameras write under a hundred."""
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_MID_GREY = (127, 129)
"""Luma of blocks that are missing, and one step of rounding on either side."""
_COEFFICIENTS = 64
_KEPT_AT_HALF = 9
"""Decoding to half the size uses the first of the coefficients up to number 24; a scan that begins here tells some."""

_PROBE = bytes(np.random.default_rng(0).integers(0, 255, 512, dtype=np.uint8))
"""Without 0xFF, so that it holds no marker."""


@dataclass(frozen=True, slots=True)
class _Scan:
    components: tuple[int, ...]
    first: int
    """Coefficients `first` to `last`, without their lowest `bits_left` bits."""
    last: int
    bits_left: int
    start: int
    end: int
    """Positions of the scan's data and of the marker after them."""


@dataclass(slots=True)
class _Frame:
    kind: int = 0
    components: tuple[int, ...] = ()
    scans: list[_Scan] = field(default_factory=list)


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and stop of the content of each segment up to the end of the image; a scan's data are passed over.

    libjpeg's own walk: bytes between segments are passed over, and markers of no length have no content. Ends without
    an error where the file does, and after 10,000 markers.
    """
    position = 2
    for _ in range(_MAX_MARKERS):
        found = _MARKER.search(data, position)
        if found is None:
            return
        marker, position = found[1][0], found.end()
        if marker == _EOI:
            return
        if marker in _STANDALONE:
            continue
        if position + 2 > len(data):
            return
        stop = position + struct.unpack_from(">H", data, position)[0]
        yield marker, position + 2, stop
        position = stop


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height of the first frame, as libjpeg finds it; None where it finds none."""
    for marker, start, _ in segments(data):
        if marker == _SOS:
            return None
        if _is_frame(marker):
            height, width = struct.unpack_from(">HH", data, start + 1)
            return width, height
    return None


def scan_count(data: bytes) -> int:
    """How many scans a decoder reads: 1 where the first has all components, since it stops there."""
    return 1 if _has_one_scan(data) else sum(marker == _SOS for marker, _, _ in segments(data))


def _is_frame(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)  # those are tables


def is_cut_short(data: bytes, image: NDArray[np.uint8]) -> bool:
    """Whether a JPEG that decodes lacks some of its pixels, though an end marker closes it. Pure.

    image: the photo, grey (h, w) or RGB (h, w, 3), as it lies in the file (not turned), at any size. False for files
    that cannot be judged: those that are coded arithmetically, or that Pillow does not read.
    """
    if _has_one_scan(data) and not _ends_grey(image):
        return False
    frame = _frame(data)
    if frame is None or not frame.scans:
        return False
    if _lacks_scans(frame):
        return True
    pixels = _decoded(data, frame)
    return pixels is not None and pixels != _decoded(_with_more_data(data, frame.scans[-1]), frame)


def _has_one_scan(data: bytes) -> bool:
    """Whether the first scan holds all of a photo in grey or colour: then what is missing is missing at its end.

    Not asked of four inks, which are not mid-grey where they are missing. Reads the headers alone.
    """
    count = 0
    for marker, start, stop in segments(data):
        if marker in _SEQUENTIAL and stop - start > 5:
            count = data[start + 5]
        elif marker == _SOS:
            return count in (1, 3) and data[start : start + 1] == bytes((count,))
    return False


def _with_more_data(data: bytes, scan: _Scan) -> bytes:
    """A scan that is whole ends before these bytes, so that its pixels stay; one that was cut off takes them for its
    own. Where it was cut before a restart it waits for that marker."""
    restart = _RST0 + len(_RESTART.findall(data, scan.start, scan.end)) % 8  # they count from 0 to 7 and over again
    return b"".join((data[: scan.end], _PROBE, bytes((0xFF, restart)), _PROBE, data[scan.end :]))


def _decoded(data: bytes, frame: _Frame) -> bytes | None:
    """A digest of the photo's pixels, or None where they cannot be read.

    By Pillow: OpenCV lets libjpeg print a line for each photo that has bytes after its last scan.
    """
    try:
        with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as photo:
            if frame.scans[-1].first <= _KEPT_AT_HALF:
                photo.draft(photo.mode, (photo.width // 2, photo.height // 2))
            return hashlib.blake2b(photo.tobytes()).digest()
    except (OSError, SyntaxError, ValueError, struct.error, IndexError, KeyError, TypeError, MemoryError):
        return None


def _frame(data: bytes) -> _Frame | None:
    """None for what has no frame that can be judged, or does not say where its last scan ends."""
    frame = _Frame()
    for marker, start, stop in segments(data):
        if stop > len(data):
            return None
        if _is_frame(marker):
            if marker not in (*_SEQUENTIAL, _PROGRESSIVE) or stop - start < 6:
                return None
            frame.kind = marker
            frame.components = tuple(data[start + 6 : stop : 3])
        elif marker == _SOS:
            scan = _scan(data, start, stop)
            if scan is None:
                return None
            frame.scans.append(scan)
    return frame if frame.kind else None


def _scan(data: bytes, start: int, stop: int) -> _Scan | None:
    count = data[start] if start < stop else 0
    after = _MARKER.search(data, stop)
    if stop - start < 4 + 2 * count or after is None:
        return None
    first, last, bits = data[stop - 3 : stop]
    end = after.start()
    while data[end - 1] == 0xFF:  # fill bytes belong to the marker
        end -= 1
    return _Scan(tuple(data[start + 1 : start + 1 + 2 * count : 2]), first, last, bits & 15, stop, end)


def _lacks_scans(frame: _Frame) -> bool:
    """Whether some coefficient of a component is told by no scan, or not to its last bit."""
    if frame.kind in _SEQUENTIAL:
        return not set(frame.components) <= {component for scan in frame.scans for component in scan.components}
    told: dict[int, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(_COEFFICIENTS, np.bool_))
    for scan in frame.scans:
        for component in scan.components:
            told[component][scan.first : scan.last + 1] |= scan.bits_left == 0
    return not all(told[component].all() for component in frame.components)


def _ends_grey(image: NDArray[np.uint8]) -> bool:
    """The last block is the first to be missing."""
    last: Sequence[float] = image[-1, -1].ravel().tolist()
    luma = last[0] if len(last) == 1 else 0.299 * last[0] + 0.587 * last[1] + 0.114 * last[2]
    return _MID_GREY[0] <= round(luma) <= _MID_GREY[1]
