"""A baseline on the sample data that ignores shape: the accuracy that a demo has to beat."""

import csv
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.errors import DataError

THUMBNAIL_PX = 16


def thumbnail_baseline(root: Path) -> float:
    """Test accuracy of a logistic regression on standardised 16x16 RGB thumbnails.

    root: folder written by `carcls.demo.sample.write_sample`. Raises DataError if a file is missing or unreadable.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a second of import that only this function needs
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - the same
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - the same

    train, test = _read_table(root / "train.csv"), _read_table(root / "test_labels.csv")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    model.fit(
        _thumbnails([root / "train" / label / photo_id for photo_id, label in train]), [label for _, label in train]
    )
    photos = _thumbnails([root / "test_upload" / photo_id for photo_id, _ in test])
    return float(model.score(photos, [label for _, label in test]))


def _thumbnails(paths: list[Path]) -> NDArray[np.float32]:
    """(n, 768), 0..1."""
    return np.stack([_thumbnail(path) for path in paths]).astype(np.float32) / np.float32(255)


def _thumbnail(path: Path) -> NDArray[np.uint8]:
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if photo is None:
        raise DataError(f"{path}: missing or not a picture; write the sample again")
    return cv2.resize(photo, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).ravel()


def _read_table(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        raise DataError(f"{path}: missing; expected a folder written by carcls.demo.sample.write_sample")
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["Id"], row["Category"]) for row in csv.DictReader(file)]
