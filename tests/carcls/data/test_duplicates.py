"""Copies are found whatever was done to them; different photos are not taken for copies."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from carcls.data.drawn.cars import car_models
from carcls.data.duplicates import exact_groups, linked_groups, look_of, near_groups
from carcls.data.photo import decode_bytes, read_photo_bytes
from carcls.data.sample import sample_photo

Image = NDArray[np.uint8]


def again(image: Image, quality: int = 90) -> Image:
    """Saved as JPEG and read."""
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)


def cut(image: Image, share: float) -> Image:
    """Cropped on two sides."""
    height, width = image.shape[:2]
    return image[int(share * height) :, : width - int(share * width)]


def scaled(image: Image, factor: float) -> Image:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def stamped(image: Image) -> Image:
    height, width = image.shape[:2]
    place = (int(width * 0.55), int(height * 0.95))
    return cv2.putText(image.copy(), "avito.ru", place, 0, width / 400, (255, 255, 255), 3)


EDITS: dict[str, tuple[Callable[[Image], Image], float]] = {
    "quality 10": (lambda image: again(image, 10), 0.99),
    "half the size": (lambda image: scaled(image, 0.5), 0.99),
    "a quarter of the size": (lambda image: scaled(image, 0.25), 0.99),
    "larger": (lambda image: scaled(image, 1.5), 0.99),
    "square": (lambda image: cv2.resize(image, (224, 224)), 0.99),
    "brighter": (lambda image: np.clip(image * 1.2 + 15, 0, 255).astype(np.uint8), 0.99),
    "darker": (lambda image: (image * 0.7).astype(np.uint8), 0.99),
    "grey": (lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), 0.99),
    "cut by 3 %": (lambda image: cut(image, 0.03), 0.97),
    "cut by 5 %": (lambda image: cut(image, 0.05), 0.9),
    "stamped": (stamped, 0.95),
    "all at once": (lambda image: again(scaled(np.clip(cut(image, 0.02) * 1.1, 0, 255).astype(np.uint8), 0.5)), 0.97),
}
"""What people do to photos, and the share of 300 real photos that must be found again."""


def share_found(originals: list[Image], edit: Callable[[Image], Image]) -> float:
    """Also asserts that nothing but an original and its copy is put together."""
    count = len(originals)
    groups = near_groups([look_of(image) for image in (*originals, *map(edit, originals))])
    assert all(len({position % count for position in group}) == 1 for group in groups), groups
    return len(groups) / count


@pytest.fixture(scope="module")
def drawn() -> list[Image]:
    """Five photos each of ten car models, all in one style."""
    models = car_models(10, family=0)
    return [
        sample_photo(model, seed=0, family=0, number=number, index=index)
        for number, model in enumerate(models)
        for index in range(5)
    ]


@pytest.mark.parametrize("edit", EDITS)
def test_copies_of_drawn_photos_are_found_and_nothing_else(drawn, edit):
    assert share_found(drawn, EDITS[edit][0]) >= 0.9


@pytest.mark.real
@pytest.mark.parametrize("edit", EDITS)
def test_copies_of_real_photos_are_found_and_nothing_else(different_real_photos, edit):
    change, expected = EDITS[edit]
    assert share_found(different_real_photos, change) >= expected


@pytest.fixture(scope="module")
def different_real_photos(shared: Path) -> list[Image]:
    paths = sorted((shared / "data" / "cars10" / "test_upload").iterdir())
    paths += sorted((shared / "data" / "cars10" / "train" / "0").iterdir())
    return [decode_bytes(read_photo_bytes(path)) for path in paths]


@pytest.mark.real
def test_the_real_photos_hold_three_pairs(shared: Path):
    """Looked at by eye: each pair is one photo in two sizes or cuts; the next likeliest pair is another car."""
    root = shared / "data" / "cars10"
    paths = sorted(root.glob("*/*/*.jpg")) + sorted(root.glob("test_upload/*.jpg"))
    groups = near_groups([look_of(decode_bytes(read_photo_bytes(path))) for path in paths])
    assert [{paths[position].stem for position in group} for group in groups] == [
        {"20692", "97878"},
        {"126183", "207757"},
        {"21494", "281726"},
    ]


def test_photos_that_show_nothing_are_not_compared():
    plain = [look_of(np.full((30, 40, 3), level, np.uint8)) for level in (0, 0, 128, 255)]
    assert near_groups([*plain, b"", b""]) == []


def test_no_photos():
    assert near_groups([]) == []
    assert linked_groups([], []) == []


def test_many_copies_of_one_picture_are_one_group(drawn):
    rng = np.random.default_rng(0)
    copies = [np.clip(drawn[0] + rng.normal(0, 4, drawn[0].shape), 0, 255).astype(np.uint8) for _ in range(60)]
    looks = [look_of(image) for image in (drawn[7], *copies, drawn[12])]
    assert near_groups(looks) == [tuple(range(1, 61))]


def test_equal_digests_are_exact_copies():
    assert exact_groups(["a", "b", "a", "c", "b", "a"]) == [(0, 2, 5), (1, 4)]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=20))
@settings(max_examples=60, deadline=None)
def test_every_photo_is_in_one_group_with_all_that_it_is_linked_to(photos):
    """A picture is drawn by its number; files of equal bytes show equal pictures."""
    pictures = np.random.default_rng(0).integers(0, 256, (7, 32, 32), dtype=np.uint8)
    looks = [np.clip(pictures[picture], version, 255).astype(np.uint8).tobytes() for picture, version in photos]
    groups = linked_groups([f"{photo}" for photo in photos], looks)
    assert sorted(position for group in groups for position in group) == list(range(len(photos)))
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    expected = {}
    for position, (picture, _) in enumerate(photos):
        expected.setdefault(picture, []).append(position)
    assert groups == [tuple(group) for group in expected.values()]
