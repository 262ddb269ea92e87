"""Photos to measure on: 640x480 JPEGs with real content where real photos are at hand, in the contest's layout."""

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

TRAIN_CSV, TRAIN_FOLDER = "train.csv", "train"
WIDTH_PX, HEIGHT_PX = 640, 480
"""What most of the contest's photos measure."""
_QUALITY = 90


def contest_jpegs(source: Path, count: int) -> list[bytes]:
    """`count` different JPEG files of 640x480: photos found under `source`, brought to that size, else drawn noise."""
    found = sorted(source.rglob("*.jpg"))[:: max(1, len(list(source.rglob("*.jpg"))) // count)][:count]
    images = [cv2.resize(cv2.imread(str(path)), (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC) for path in found]
    rng = np.random.default_rng(0)
    images += [_smooth_noise(rng) for _ in range(count - len(images))]
    return [_jpeg(image) for image in images]


def commented(jpeg: bytes, number: int) -> bytes:
    """The same picture as another file: a comment (ITU T.81, B.2.4.5) behind the start-of-image marker."""
    text = f"photo {number}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def write_contest(root: Path, rows: Sequence[tuple[str, str]], jpegs: Sequence[bytes]) -> None:
    """train.csv and train/<Category>/<Id> for (Id, Category) rows; no two files have the same bytes.

    The pictures, if enough, are shared out among the categories and come round within them: a picture with two labels
    would count as an error in the labels, and none of its copies could be held out for validation.
    """
    root.mkdir(parents=True)
    categories = sorted({category for _, category in rows})
    pictures = {}
    for place, category in enumerate(categories):
        (root / TRAIN_FOLDER / category).mkdir(parents=True)
        pictures[category] = itertools.cycle(jpegs[place % len(jpegs) :: len(categories)])
    for number, (name, category) in enumerate(rows):
        (root / TRAIN_FOLDER / category / name).write_bytes(commented(next(pictures[category]), number))
    _write_csv(root / TRAIN_CSV, rows)


def contest_rows(train_csv: Path) -> list[tuple[str, str]]:
    """(Id, Category) of the contest's own file; as many made-up ones where it is absent."""
    if not train_csv.is_file():
        return [(f"{number}.jpg", str(number % 10)) for number in range(15_561)]
    with train_csv.open(newline="", encoding="utf-8") as file:
        return [(row["Id"], row["Category"]) for row in csv.DictReader(file)]


def _smooth_noise(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Soft shapes with a little grain: compresses about as a photo does."""
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(smooth + rng.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise RuntimeError("OpenCV could not write a JPEG")
    return data.tobytes()


def _write_csv(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("Id", "Category"), *rows])
