"""Writes the built-in sample data: drawn cars in the competition's layout, for demos and tests without a download."""

import csv
import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from carcls.demo.cars import CarModel, car_models
from carcls.demo.drawing import draw_car
from carcls.errors import DataError

PHOTO_SIZE_PX = (120, 160)
"""(height, width) of a sample photo."""

_CARD = "sample.json"
_FORMAT = 1  # increase it when the drawing changes
_FIRST_TEST_PHOTO = 1 << 20  # keeps test photos independent of the number of training photos
_JPEG_QUALITY = 90


def write_sample(
    root: Path,
    *,
    train_per_class: int,
    test_per_class: int,
    seed: int = 0,
    classes: int = 10,
    family: int = 0,
) -> None:
    """Writes train.csv, train/<Category>/<Id>, test_upload/<Id>, sample-submission.csv and test_labels.csv to `root`.

    The same arguments give the same bytes. The folder appears atomically, and a folder that already contains this exact
    sample is left unchanged. Only scoring reads test_labels.csv, which is not part of the competition's layout. Raises
    DataError if `root` contains anything else.
    """
    if min(classes, train_per_class, test_per_class) < 1:
        counts = f"{classes} classes, {train_per_class} training and {test_per_class} test photos per class"
        raise DataError(f"{root}: asked for {counts}; expected at least one of each")
    card = {
        "format": _FORMAT,
        "seed": seed,
        "family": family,
        "classes": classes,
        "train_per_class": train_per_class,
        "test_per_class": test_per_class,
    }
    if _holds(root, card):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        models = car_models(classes, family=family)
        _write_train(building, models, train_per_class, seed=seed, family=family)
        _write_test(building, models, test_per_class, seed=seed, family=family)
        (building / _CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        building.chmod(0o755)  # mkdtemp creates it with 0700
        building.replace(root)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def sample_photo(model: CarModel, *, seed: int, family: int, number: int, index: int) -> NDArray[np.uint8]:
    """Photo `index` of the family's model `number`: uint8 RGB (120, 160, 3), a pure function of its arguments."""
    return draw_car(np.random.default_rng((seed, family, number, index)), model, PHOTO_SIZE_PX)


def _holds(root: Path, card: dict[str, int]) -> bool:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    found = root / _CARD
    if found.is_file() and json.loads(found.read_text(encoding="utf-8")) == card:
        return True
    what = "another sample" if found.is_file() else "something else"
    raise DataError(
        f"{root}: holds {what}; expected no such folder, an empty one, or this sample: delete it or choose another"
    )


def _write_train(root: Path, models: tuple[CarModel, ...], per_class: int, *, seed: int, family: int) -> None:
    rows = []
    names = np.random.default_rng((seed, family, 0)).permutation(len(models) * per_class)
    for number, model in enumerate(models):
        folder = root / "train" / str(number)
        folder.mkdir(parents=True)
        for index in range(per_class):
            photo_id = f"{names[number * per_class + index]}.jpg"
            _write_photo(folder / photo_id, sample_photo(model, seed=seed, family=family, number=number, index=index))
            rows.append((photo_id, str(number)))
    _write_table(root / "train.csv", sorted(rows, key=lambda row: _number(row[0])))


def _write_test(root: Path, models: tuple[CarModel, ...], per_class: int, *, seed: int, family: int) -> None:
    folder, labels = root / "test_upload", {}
    folder.mkdir()
    rng = np.random.default_rng((seed, family, 1))
    names = rng.permutation(len(models) * per_class)
    for number, model in enumerate(models):
        for index in range(per_class):
            photo_id = f"{names[number * per_class + index]}.jpg"
            photo = sample_photo(model, seed=seed, family=family, number=number, index=_FIRST_TEST_PHOTO + index)
            _write_photo(folder / photo_id, photo)
            labels[photo_id] = str(number)
    order = [f"{name}.jpg" for name in rng.permutation(len(names))]
    _write_table(root / "sample-submission.csv", [(photo_id, "0") for photo_id in order])
    _write_table(root / "test_labels.csv", [(photo_id, labels[photo_id]) for photo_id in order])


def _number(photo_id: str) -> int:
    return int(photo_id.removesuffix(".jpg"))


def _write_photo(path: Path, photo: NDArray[np.uint8]) -> None:
    done, encoded = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise DataError(
            f"{path}: OpenCV could not encode this photo as JPEG; check the installation of opencv-python-headless"
        )
    path.write_bytes(encoded.tobytes())


def _write_table(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("Id", "Category"))
        writer.writerows(rows)
