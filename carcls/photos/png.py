"""Chunks of a PNG file, and removal of its animation."""

import struct
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
"""Chunks that only an animation has (PNG specification, third edition, 11.3.6)."""


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and stop of each chunk's content up to IEND. Stops silently at the end of a truncated file."""
    position = len(SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, position + 8, position + 8 + length
        if name == b"IEND":
            return
        position += 12 + length


def without_animation(data: bytes) -> bytes:
    """The file as a viewer without animation shows it: only the default image, which need not be one of the frames."""
    if not any(name == b"acTL" for name, _, _ in chunks(data)):
        return data
    kept = [data[start - 8 : stop + 4] for name, start, stop in chunks(data) if name not in _ANIMATION]
    return b"".join((SIGNATURE, *kept))
