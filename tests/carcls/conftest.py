"""Fixtures that create small photos and data folders."""

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def write_photo() -> Callable[..., None]:
    """write_photo(path, seed, size=(width, height)) writes smooth noise. Equal seeds give equal bytes."""

    def write(path: Path, seed: int, size: tuple[int, int] = (24, 16)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        assert cv2.imwrite(str(path), cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC))

    return write


@pytest.fixture
def make_root(tmp_path: Path, write_photo: Callable[..., None]) -> Callable[..., Path]:
    """make_root({"0": 3, "1": 2}, test=2) creates a data folder with so many photos per class and returns its path."""

    def make(counts: Mapping[str, int], *, test: int = 0, folder: str = "photos") -> Path:
        root = tmp_path / folder
        rows = [(f"{category}{number}.jpg", category) for category in counts for number in range(counts[category])]
        for seed, (name, category) in enumerate(rows):
            write_photo(root / "train" / category / name, seed)
        for number in range(test):
            write_photo(root / "test_upload" / f"{number}.jpg", 10_000 + number)
        (root / "train.csv").write_text("Id,Category\n" + "".join(f"{name},{category}\n" for name, category in rows))
        return root

    return make
