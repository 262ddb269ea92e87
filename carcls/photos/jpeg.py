"""Segments of a JPEG file, and whether its pixel data is complete. libjpeg fills missing pixels with grey."""

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
"""Huffman-coded frames. Arithmetic coders may omit bytes at the end of a scan, so truncation cannot be detected."""
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""End of a scan's data: a marker that is neither a stuffed byte nor a restart. Any number of 0xFF may precede it; the
pattern leaves them out, since it would otherwise try each of them as a start."""
_MAX_MARKERS = 10_000
"""Markers read in one file; cameras write under a hundred."""
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_MID_GREY = (127, 129)
"""Luma of missing blocks, plus or minus one for rounding."""
_COEFFICIENTS = 64
_KEPT_AT_HALF = 9
"""Decoding at half size uses only low coefficients, up to number 24; scans that begin at this one or before matter."""

_PROBE = bytes(np.random.default_rng(0).integers(0, 255, 512, dtype=np.uint8))
"""Random bytes without 0xFF, so they contain no marker."""


@dataclass(frozen=True, slots=True)
class _Scan:
    components: tuple[int, ...]
    first: int
    """The scan holds coefficients `first` to `last`, without their lowest `bits_left` bits."""
    last: int
    bits_left: int
    start: int
    end: int
    """Positions of the scan's data and of the marker that follows it."""


@dataclass(slots=True)
class _Frame:
    kind: int = 0
    components: tuple[int, ...] = ()
    scans: list[_Scan] = field(default_factory=list)


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and stop of each segment's content up to the end of the image. Skips the data of scans.

    Follows libjpeg: bytes between segments are skipped, and markers without a length have no content. Stops without an
    error at the end of a truncated file and after 10,000 markers. `stop` is as the segment declares: in a truncated
    file it may be beyond the end.
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
    """Width and height of the first frame as libjpeg finds it, or None."""
    for marker, start, _ in segments(data):
        if marker == _SOS:
            return None
        if _is_frame(marker):
            height, width = struct.unpack_from(">HH", data, start + 1)
            return width, height
    return None


def scan_count(data: bytes) -> int:
    """Number of scans that a decoder reads: it stops after the first if that has all components."""
    return 1 if _has_one_scan(data) else sum(marker == _SOS for marker, _, _ in segments(data))


def _is_frame(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)  # those are tables


def is_truncated(data: bytes, image: NDArray[np.uint8]) -> bool:
    """Whether a JPEG that decodes lacks some of its pixels although it has an end marker. Pure.

    image: the decoded photo at any size, grey (h, w) or RGB (h, w, 3), before EXIF rotation. False if truncation cannot
    be detected: for arithmetic coding, and for files that Pillow does not read.
    """
    # The cheap test comes first: most photos have one scan and do not end in grey.
    if _has_one_scan(data) and not _ends_grey(image):
        return False
    frame = _frame(data)
    if frame is None or not frame.scans:
        return False
    if _lacks_scans(frame):
        return True
    # Appended data changes the pixels only if the last scan was truncated.
    pixels = _decoded(data, frame)
    return pixels is not None and pixels != _decoded(_with_more_data(data, frame.scans[-1]), frame)


def _has_one_scan(data: bytes) -> bool:
    """Whether the first scan holds all of a grey or colour photo, so that missing pixels are at its end.

    False for CMYK, where missing pixels are not mid-grey. Reads only headers.
    """
    count = 0
    for marker, start, stop in segments(data):
        if marker in _SEQUENTIAL and min(stop, len(data)) - start > 5:
            count = data[start + 5]
        elif marker == _SOS:
            return count in (1, 3) and data[start : start + 1] == bytes((count,))
    return False


def _with_more_data(data: bytes, scan: _Scan) -> bytes:
    """The file with random bytes after the scan. A complete scan ignores them, so its pixels stay the same; a truncated
    one decodes them as its own. A scan cut before a restart marker waits for it, so the marker is inserted too."""
    restart = _RST0 + len(_RESTART.findall(data, scan.start, scan.end)) % 8  # they cycle from 0 to 7
    return b"".join((data[: scan.end], _PROBE, bytes((0xFF, restart)), _PROBE, data[scan.end :]))


def _decoded(data: bytes, frame: _Frame) -> bytes | None:
    """A digest of the photo's pixels, or None if they cannot be read.

    By Pillow, since OpenCV lets libjpeg print a warning for each photo with bytes after its last scan.
    """
    try:
        with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as photo:
            if frame.scans[-1].first <= _KEPT_AT_HALF:
                photo.draft(photo.mode, (photo.width // 2, photo.height // 2))
            return hashlib.blake2b(photo.tobytes()).digest()
    except (OSError, SyntaxError, ValueError, struct.error, IndexError, KeyError, TypeError, MemoryError):
        return None


def _frame(data: bytes) -> _Frame | None:
    """The frame and its scans, or None if it is of an unsupported kind or the end of a scan is unknown."""
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
    """Whether some coefficient of a component is in no scan, or not in full precision."""
    if frame.kind in _SEQUENTIAL:
        return not set(frame.components) <= {component for scan in frame.scans for component in scan.components}
    told: dict[int, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(_COEFFICIENTS, np.bool_))
    for scan in frame.scans:
        for component in scan.components:
            # Later scans refine the same coefficients; only the last one reaches bit 0.
            told[component][scan.first : scan.last + 1] |= scan.bits_left == 0
    return not all(told[component].all() for component in frame.components)


def _ends_grey(image: NDArray[np.uint8]) -> bool:
    """Whether the last pixel is mid-grey. Truncation always affects the last block."""
    last: Sequence[float] = image[-1, -1].ravel().tolist()
    luma = last[0] if len(last) == 1 else 0.299 * last[0] + 0.587 * last[1] + 0.114 * last[2]
    return _MID_GREY[0] <= round(luma) <= _MID_GREY[1]
