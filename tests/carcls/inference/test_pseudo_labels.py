import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from carcls.inference.pseudo_labels import agreed, view_names
from carcls.inference.tta import VIEWS


def votes(*answers: list[int]) -> list[np.ndarray]:
    """Probabilities of three classes, one array for each list of answers."""
    return [np.eye(3, dtype=np.float32)[one] for one in answers]


def test_full_agreement_takes_only_photos_on_which_every_prediction_agrees():
    rows, labels = agreed(votes([0, 1, 2, 2], [0, 1, 1, 2], [0, 2, 2, 2]), 1.0)
    assert (rows.tolist(), labels.tolist()) == ([0, 3], [0, 2])


def test_a_share_counts_votes_exactly():
    ten = votes(*([[1, 1]] * 8), [1, 0], [0, 0])
    assert agreed(ten, 0.9)[0].tolist() == [0], "nine of ten are 0.9"
    assert agreed(ten, 0.8)[0].tolist() == [0, 1]


def test_a_prediction_that_is_not_finite_agrees_with_nothing():
    good, bad = votes([1]), [np.full((1, 3), np.nan, np.float32)]
    assert agreed([*good, *bad], 1.0)[0].tolist() == []
    assert agreed([*good, *good, *good, *bad], 0.75)[1].tolist() == [1]


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.int64, (5, 7), elements=st.integers(0, 2)), st.sampled_from([0.6, 0.8, 1.0]))
def test_every_label_has_its_share_of_the_votes_and_no_other_photo_has(answers, agreement):
    rows, labels = agreed(votes(*answers.tolist()), agreement)
    counts = np.stack([(answers == label).sum(axis=0) for label in range(3)])
    assert rows.tolist() == [row for row in range(7) if counts[:, row].max() >= round(agreement * 5)]
    assert all(counts[label, row] == counts[:, row].max() for row, label in zip(rows, labels, strict=True))


def test_no_photo_gets_no_label_and_half_is_no_agreement():
    rows, labels = agreed([np.zeros((0, 3), np.float32)], 1.0)
    assert (rows.shape, labels.shape) == ((0,), (0,))
    with pytest.raises(ValueError, match=r"above 0\.5"):
        agreed(votes([0]), 0.5)


def test_views_are_the_first_ones():
    assert view_names(3) == ("plain", "flip", "zoom")
    assert view_names(len(VIEWS)) == tuple(VIEWS)
