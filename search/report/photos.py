"""Photos on the page: thumbnails that carcls makes, as data URLs, since the page loads nothing."""

import base64
from collections.abc import Iterable
from pathlib import Path

from carcls.inspection.thumbnails import thumbnail

_SIDE_PX = 144


def photo_urls(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """A data URL for each photo that can be read; paths are relative to `root`."""
    found = ((path, thumbnail(root / path, side_px=_SIDE_PX)) for path in paths)
    return {path: f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" for path, jpeg in found if jpeg}
