"""Edited copies are found, and different photos are not mistaken for copies."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.demo.cars import car_models
from carcls.demo.sample import sample_photo
from carcls.photos.duplicates import exact_groups, linked_groups, near_groups, thumbnail_of
from carcls.photos.part_similarity import share_of_differing_parts
from carcls.photos.photo import decode_bytes, read_photo_bytes
from tests.helpers.photos.edits import EDITS, Image, before_one_background, cars_cut_out, photos_below


def share_found(originals: list[Image], edit: Callable[[Image], Image]) -> float:
    """Also asserts that only originals and their copies are grouped."""
    count = len(originals)
    groups = near_groups([thumbnail_of(image) for image in (*originals, *map(edit, originals))])
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
    return photos_below(shared / "data" / "cars10" / "test_upload", shared / "data" / "cars10" / "train" / "0")


@pytest.mark.real
def test_the_real_photos_hold_three_pairs(shared: Path):
    """Verified by eye: each pair is one photo in two sizes or crops; the next most similar pair shows two cars."""
    root = shared / "data" / "cars10"
    paths = sorted(root.glob("*/*/*.jpg")) + sorted(root.glob("test_upload/*.jpg"))
    groups = near_groups([thumbnail_of(decode_bytes(read_photo_bytes(path))) for path in paths])
    assert [{paths[position].stem for position in group} for group in groups] == [
        {"20692", "97878"},
        {"126183", "207757"},
        {"21494", "281726"},
    ]


@pytest.mark.real
def test_other_cars_before_one_background_are_no_look_alikes(shared: Path):
    """The pictures are similar except for the car. Compared as a whole, 14 % of such pairs would count as copies."""
    photos = photos_below(shared / "data" / "cars10")
    pairs = list(before_one_background(cars_cut_out(photos), photos[:60], seed=0))
    assert len(pairs) > 300
    thumbnails = [(thumbnail_of(one), thumbnail_of(other)) for one, other in pairs]
    assert sum(bool(near_groups(pair)) for pair in thumbnails) <= 0.03 * len(pairs)
    assert sum(bool(near_groups(pair, (0, 1))) for pair in thumbnails) <= 0.01 * len(pairs)


def test_one_part_that_differs_makes_another_picture():
    """Even if everything around the car is the same: it covers a twelfth of the picture."""
    rng = np.random.default_rng(0)

    def texture(side: int) -> Image:
        return cv2.resize(rng.integers(0, 256, (side // 12, side // 12), dtype=np.uint8), (side, side))

    wall = texture(256)
    same, other, stamped = wall.copy(), wall.copy(), wall.copy()
    other[96:168, 80:152] = texture(72)
    stamped[224:248, 160:250] = 255
    thumbnails = [thumbnail_of(image) for image in (wall, same, other, stamped)]
    assert near_groups(thumbnails[:2]) == near_groups(thumbnails[:2], [0, 1]) == [(0, 1)]
    assert near_groups([thumbnails[0], thumbnails[2]]) == []
    assert near_groups([thumbnails[0], thumbnails[3]]) == [(0, 1)]


@given(st.integers(0, 9), st.floats(0.3, 1.5), st.floats(-40, 40))
@settings(max_examples=40, deadline=None)
def test_parts_are_compared_whatever_the_brightness(seed, contrast, brightness):
    rng = np.random.default_rng(seed)
    pictures = rng.normal(0, 40, (3, 64, 64)).astype(np.float32)
    others = (pictures * contrast + brightness).astype(np.float32)
    assert share_of_differing_parts(pictures, others).max() == 0
    assert (
        share_of_differing_parts(pictures, np.roll(pictures, 1, axis=2)).max() < 0.2
    )  # exact to the pixel except for the frame
    assert share_of_differing_parts(pictures, rng.permutation(pictures, axis=1)).min() > 0.5
    assert share_of_differing_parts(np.zeros_like(pictures), pictures).tolist() == [0, 0, 0]


def test_uniform_photos_are_not_compared():
    plain = [thumbnail_of(np.full((30, 40, 3), level, np.uint8)) for level in (0, 0, 128, 255)]
    assert near_groups([*plain, b"", b""]) == []


def test_no_photos():
    assert near_groups([]) == []
    assert linked_groups([], []) == []


def test_many_copies_of_one_picture_are_one_group(drawn):
    rng = np.random.default_rng(0)
    copies = [np.clip(drawn[0] + rng.normal(0, 4, drawn[0].shape), 0, 255).astype(np.uint8) for _ in range(60)]
    thumbnails = [thumbnail_of(image) for image in (drawn[7], *copies, drawn[12])]
    assert near_groups(thumbnails) == [tuple(range(1, 61))]


def test_equal_digests_are_exact_copies():
    assert exact_groups(["a", "b", "a", "c", "b", "a"]) == [(0, 2, 5), (1, 4)]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=20))
@settings(max_examples=60, deadline=None)
def test_every_photo_is_in_one_group_with_all_that_it_is_linked_to(photos):
    """A picture is identified by its number; files with equal bytes show equal pictures."""
    pictures = np.random.default_rng(0).integers(0, 256, (7, 64, 64), dtype=np.uint8)
    thumbnails = [np.clip(pictures[picture], version, 255).astype(np.uint8).tobytes() for picture, version in photos]
    groups = linked_groups([f"{photo}" for photo in photos], thumbnails)
    assert sorted(position for group in groups for position in group) == list(range(len(photos)))
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    expected = {}
    for position, (picture, _) in enumerate(photos):
        expected.setdefault(picture, []).append(position)
    assert groups == [tuple(group) for group in expected.values()]
