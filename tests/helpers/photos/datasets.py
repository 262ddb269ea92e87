"""Data folders in memory, with copies and look-alikes."""

from pathlib import Path

import numpy as np

from carcls.dataset.scan import Scan
from carcls.dataset.table import Dataset, ImageTable

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 64, 64), dtype=np.uint8)
"""Thumbnails of 40 unrelated photos."""
NOTHING = ImageTable(Path("r"), (), (), np.array([], dtype=np.int64), ())


def dataset(labels, digests=None, pictures=None) -> Dataset:
    """pictures: number of the picture that each photo shows, saved again with different noise."""
    ids = tuple(f"{number}.jpg" for number in range(len(labels)))
    names = tuple(str(label) for label in range(max(labels) + 1))
    paths = tuple(f"train/{names[label]}/{id_}" for id_, label in zip(ids, labels, strict=True))
    table = ImageTable(Path("r"), ids, paths, np.array(labels), tuple(digests or ids))
    thumbnails = (
        [b""] * len(labels) if pictures is None else [thumbnail(index, of) for index, of in enumerate(pictures)]
    )
    scans = tuple(Scan(digest, thumbnail=one) for digest, one in zip(table.digests, thumbnails, strict=True))
    return Dataset(names, table, NOTHING, None, (), scans, ())


def thumbnail(index: int, picture: int) -> bytes:
    noise = np.random.default_rng(index).integers(-3, 4, PICTURES[picture].shape)
    return np.clip(PICTURES[picture] + noise, 0, 255).astype(np.uint8).tobytes()
