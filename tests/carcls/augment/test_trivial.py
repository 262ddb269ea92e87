"""TrivialAugment: each operation by itself, and how often each is drawn."""

import random
from collections import Counter

import numpy as np
import pytest
from albumentations import Compose

from carcls.augment.trivial import OPERATIONS, TrivialAugment
from carcls.augment.views import view, view_and_transforms

NAMES = [operation.__name__.removeprefix("_") for operation in OPERATIONS]


def photo(height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 180, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
@pytest.mark.parametrize("by", [-1.0, -0.3, 0.0, 1.0])
def test_an_operation_keeps_shape_and_dtype_and_its_argument(operation, by):
    image = photo()
    before = image.copy()
    out = operation(image, by)
    assert (out.shape, out.dtype) == (image.shape, np.uint8)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", ["shear_x", "shift_y", "turned", "brightness", "contrast", "sharpness", "posterized"])
def test_without_strength_nothing_changes(name):
    np.testing.assert_array_equal(OPERATIONS[NAMES.index(name)](photo(), 0.0), photo())


def test_operations_by_hand():
    operation = dict(zip(NAMES, OPERATIONS, strict=True))
    image = photo()
    np.testing.assert_allclose(operation["brightness"](image, -1.0), 0.3 * image, atol=0.51)
    np.testing.assert_allclose(operation["brightness"](image, 1.0), np.minimum(255, 1.7 * image), atol=0.51)
    np.testing.assert_array_equal(operation["posterized"](image, 1.0), image & 0xF0)
    stretched = operation["auto_contrast"](image, 0.0)
    assert stretched.min(axis=(0, 1)).tolist() == [0, 0, 0]
    assert stretched.max(axis=(0, 1)).tolist() == [255, 255, 255]
    flat = np.full((8, 8, 3), 90, np.uint8)
    np.testing.assert_array_equal(operation["auto_contrast"](flat, 0.0), flat)
    shifted = operation["shift_x"](image, 1.0)
    np.testing.assert_allclose(shifted[:, 10:30].astype(int), image[:, 5:25].astype(int), atol=60)


def test_every_operation_is_drawn_as_often_as_identity():
    transform, draws = TrivialAugment(), 2_600

    compose = Compose([transform])
    compose.set_random_state(np.random.default_rng(0), random.Random(0))  # noqa: S311  # no secret
    drawn = Counter(transform.get_params()["operation"] for _ in range(draws))
    expected = draws / len(OPERATIONS)
    assert set(drawn) == set(range(len(OPERATIONS)))
    assert all(abs(count - expected) < 5.5 * expected**0.5 for count in drawn.values())
    assert transform.p == pytest.approx(12 / 13)


def test_a_view_is_a_function_of_its_place():
    image = photo()
    one, names = view_and_transforms("trivial", image, seed=1, view=2, index=3)
    np.testing.assert_array_equal(view("trivial", image, seed=1, view=2, index=3), one)
    assert set(names) <= {"HorizontalFlip", "TrivialAugment"}
    assert len({view("trivial", image, seed=1, view=2, index=index).tobytes() for index in range(30)}) > 20
