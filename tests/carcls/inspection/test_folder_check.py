"""All findings of `examine` for one folder."""

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.font_manager import FontProperties, findfont, get_font

from carcls.dataset.layouts import Layout
from carcls.dataset.loading import load_dataset
from carcls.demo.cars import car_models
from carcls.demo.sample import sample_photo
from carcls.inspection.contact_sheet import SheetRow, sheet_rows, write_contact_sheet
from carcls.inspection.findings import Quantiles, write_lists
from carcls.inspection.folder_check import class_rows, examine, pixel_store_bytes, suggested_fraction, suggested_shape


def drawn(number: int, index: int) -> np.ndarray:
    """BGR, as OpenCV writes it."""
    return sample_photo(car_models(10, family=0)[number], seed=0, family=0, number=number, index=index)[..., ::-1]


def write(path: Path, image: np.ndarray, quality: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    path.write_bytes(data.tobytes())  # cv2.imwrite does not support Cyrillic names on some systems


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Class folders: 12 and 4 photos, one pair of near copies, one photo of both classes, one also to predict."""
    root = tmp_path_factory.mktemp("data") / "Машины"
    for index in range(10):
        write(root / "train" / "Лада Приора" / f"{index}.jpg", drawn(0, index))
    write(root / "train" / "Лада Приора" / "again.jpg", cv2.resize(drawn(0, 0), (100, 75)), quality=60)
    write(root / "train" / "Лада Приора" / "both.jpg", drawn(1, 50))
    for index in range(3):
        write(root / "train" / "Нива" / f"n{index}.jpg", drawn(1, index))
    write(root / "train" / "Нива" / "both.jpg", drawn(1, 50))
    write(root / "test" / "portrait.jpg", drawn(2, 0).transpose(1, 0, 2)[::-1])
    write(root / "test" / "seen.jpg", drawn(1, 1), quality=70)
    (root / "train" / "Нива" / "broken.jpg").write_bytes(b"no photo")
    return root


@pytest.fixture(scope="module")
def findings(root):
    return examine(load_dataset(root, processes=1), seed=0)


def test_counts_and_suggested_split(findings):
    assert [(one.name, one.photos) for one in findings.classes] == [("Лада Приора", 12), ("Нива", 4)]
    assert [one.validation for one in findings.classes] == [3, 1]
    assert (findings.test, findings.fraction, findings.trouble) == (2, 0.25, "")


def test_copies_are_named_by_what_is_wrong_with_them(findings):
    told = [(group.place, group.exact, group.paths) for group in findings.copies]
    lada, niva = "train/Лада Приора", "train/Нива"
    assert told == [
        ("two labels: Лада Приора, Нива", True, (f"{lada}/both.jpg", f"{niva}/both.jpg")),
        ("across training and test", False, (f"{niva}/n1.jpg", "test/seen.jpg")),
        ("within training", False, (f"{lada}/0.jpg", f"{lada}/again.jpg")),
    ]


def test_sizes(findings):
    sizes = findings.sizes
    assert (sizes.width_px.low, sizes.width_px.median, sizes.width_px.high) == (100, 160, 160)
    assert (sizes.landscape, sizes.portrait, sizes.square) == (17, 1, 0)
    assert sizes.common[0] == (160, 120, 16)
    assert sizes.aspect.low == pytest.approx(0.75)
    assert sizes.odd == ()


def test_a_shape_is_suggested_where_most_photos_share_one(findings):
    assert suggested_shape(findings.sizes, 224) == (192, 256)
    assert suggested_shape(findings.sizes, 448) == (384, 512)
    upright = replace(findings.sizes, landscape=1, portrait=17, aspect=Quantiles(0.75, 0.75, 1.4))
    assert suggested_shape(upright, 224) == (256, 192)
    mixed = replace(findings.sizes, landscape=9, portrait=4, square=5)
    assert suggested_shape(mixed, 224) is None
    nearly_square = replace(findings.sizes, aspect=Quantiles(0.9, 1.03, 1.1))
    assert suggested_shape(nearly_square, 224) is None


def test_warnings(findings):
    assert findings.warnings == (
        "1 photos, rows or classes cannot be used as they are",
        "2 of 2 classes have under 10 photos to validate on: Лада Приора, Нива",
        "1 groups of exact copies with two labels; they are not used for validation",
        "1 groups of look-alikes across training and test",
    )


def test_class_names_that_look_alike_are_warned_of(tmp_path, write_photo):
    names = ("BMW X5", "bmw x5", "BMW\xa0X5", "BMW  X5", "BMW X5\u200b", "Kalina", "Кalina", "Niva")
    for seed, name in enumerate(names):
        write_photo(tmp_path / name / "1.jpg", seed)
    found = examine(load_dataset(tmp_path, processes=1), seed=0)
    assert [line for line in found.warnings if "alike" in line] == [
        "class names that look alike and differ only by case, spaces or invisible characters:"
        " 'BMW  X5', 'BMW X5', 'BMW X5\\u200b', 'BMW\\xa0X5', 'bmw x5'",
        "class names that look alike and differ only by letters of two alphabets: 'Kalina', 'Кalina'",
    ]


def test_lists_hold_everything(findings, tmp_path):
    write_lists(findings, tmp_path / "out")
    rows = {}
    for name in ("classes", "duplicates", "unusable"):
        with (tmp_path / "out" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows[name] = list(csv.DictReader(file))
    assert [row["class"] for row in rows["classes"]] == ["Лада Приора", "Нива"]
    assert len(rows["duplicates"]) == 6
    assert rows["unusable"][0]["path"] == "train/Нива/broken.jpg"


def test_one_class_cannot_be_trained(make_root):
    found = examine(load_dataset(make_root({"0": 5}), processes=1), seed=0)
    assert "every usable photo is of the class '0'" in found.trouble


def test_odd_photos_are_named(make_root, write_photo):
    root = make_root({"0": 2, "1": 2})
    write_photo(root / "train" / "0" / "00.jpg", 99, size=(400, 80))
    found = examine(load_dataset(root, processes=1), seed=0)
    assert found.sizes.odd[0] == "train/0/00.jpg"


@pytest.mark.parametrize(("photos", "fraction"), [(10, 0.25), (722, 0.25), (7500, 0.2), (10_000, 0.15), (15_561, 0.1)])
def test_suggested_fraction_leaves_enough_to_validate_on(photos, fraction):
    assert suggested_fraction(photos) == fraction


def test_predicted_store_is_what_the_array_takes(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((7, 32, 32, 3), np.uint8))
    assert pixel_store_bytes(7, 32) == (tmp_path / "a.npy").stat().st_size


def test_sheet_shows_each_class_then_copies(root, findings):
    rows = sheet_rows(load_dataset(root, processes=1), findings, seed=0)
    assert [(row.title, len(row.paths)) for row in rows] == [
        ("Лада Приора: 12 photos", 8),
        ("Нива: 4 photos", 4),
        ("exact copies, two labels: Лада Приора, Нива", 2),
        ("look-alikes, across training and test", 2),
        ("look-alikes, within training", 2),
    ]


def test_sheet_is_a_picture_whose_titles_are_legible(tmp_path, write_photo, recwarn):
    """The font has all Cyrillic letters, photos are in their cells, and names are not parsed as mathematics."""
    font = get_font(findfont(FontProperties()))
    assert all(
        font.get_char_index(ord(letter))
        for letter in "АБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдеёжзийклмнопрстуфхцчшщъыьэюя"
    )
    write_photo(tmp_path / "a.jpg", 3, size=(128, 96))
    pictures = []
    for title in ("Приора", "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 6, "$x_2$ \n"):
        write_contact_sheet([SheetRow(title, ("a.jpg", "gone.jpg"))], tmp_path, tmp_path / "sheet.png")
        pictures.append(cv2.imread(str(tmp_path / "sheet.png")))
    assert [picture.shape for picture in pictures] == [(126, 1060, 3)] * 3
    titles = [picture[:20] for picture in pictures]
    assert all((title < 128).sum() > 100 for title in titles)
    assert not np.array_equal(titles[0], titles[1])
    cell = pictures[0][22:118, 4:132]
    photo = cv2.imread(str(tmp_path / "a.jpg"))
    assert np.abs(cell.astype(int) - photo).mean() < 1
    assert (pictures[0][22:118, 136:264] == 255).all()
    assert not recwarn.list


@pytest.mark.real
def test_the_contests_csv_alone_is_counted(shared):
    counts = class_rows(shared / "data" / "kaggle_csv", Layout())
    assert list(counts) == [str(number) for number in range(10)]
    assert sum(counts.values()) == 15_561
    assert (counts["1"], counts["7"]) == (1971, 1207)
