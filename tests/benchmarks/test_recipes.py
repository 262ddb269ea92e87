"""How recorded recipes are compared."""

import numpy as np

from benchmarks.recipes import _compared

LABELS = np.array([0, 0, 1, 1])


def _sure_of(*classes: int) -> np.ndarray:
    return np.where(np.array(classes)[:, None] == np.arange(2), np.float32(0.9), np.float32(0.1))


def test_gains_are_paired_by_photo_and_by_fold():
    before = [_sure_of(0, 1, 0, 1), _sure_of(0, 1, 1, 1)]  # 2 and 3 of 4
    now = [_sure_of(0, 0, 1, 0), _sure_of(0, 0, 1, 1)]  # 3 and 4 of 4: each fold gains one photo
    shipped, recipe = _compared("cars", "one", before, now, LABELS)
    assert shipped[:3] == ("cars", "one, shipped", "62.5")
    assert recipe[1:3] == ("one, recipe", "87.5")
    points, over_folds, over_photos = recipe[4:7]
    # By photo, in the mean of both folds: 0, +1, +1/2, -1/2.
    assert (points, over_folds) == ("+25.00", "0.00")
    assert float(over_photos) == round(100 * np.std([0, 1, 0.5, -0.5], ddof=1) / 2, 2)


def test_an_average_has_no_error_over_folds():
    recipe = _compared("cars", "2 averaged", [_sure_of(0, 1, 1, 1)], [_sure_of(0, 0, 1, 1)], LABELS)[1]
    assert recipe[4:6] == ("+25.00", "")
