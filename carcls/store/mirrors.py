"""Where a node keeps its copies of photos from object storage, and how large they are."""

import contextlib
from hashlib import blake2b
from pathlib import Path

_FOLDER = "photos"
SIZE_NAME = "bytes"
"""File in the folder of a copy that is complete, with its size."""


def mirror_folder(root: Path, url: str) -> Path:
    """The folder of the copy of a URL below the store's root. Pure."""
    return root / _FOLDER / blake2b(url.encode(), digest_size=8).hexdigest()


def mirrored_bytes(root: Path) -> int:
    """Size of all complete copies below the store's root."""
    total = 0
    for path in root.glob(f"{_FOLDER}/*/{SIZE_NAME}"):
        with contextlib.suppress(OSError, ValueError):
            total += int(path.read_text(encoding="ascii"))
    return total
