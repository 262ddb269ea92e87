"""Values by hand, and that doubtful labels are those that were swapped."""

import numpy as np
import pytest

from carcls.scoring.diagnosis import class_scores, doubtful_labels, mistakes, reliability, worst_pairs
from carcls.scoring.expectation import wilson

LABELS = np.array([0, 0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.4, 0.6, 0.0], [0.1, 0.9, 0.0], [0.3, 0.6, 0.1], [0.0, 0.5, 0.5]]
)
"""Two photos of class 0 are taken for class 1, and the one of class 2 too: argmax takes the first of equals."""


def test_scores_of_each_class():
    first, second, third = class_scores(PROBABILITIES, LABELS)
    assert (first.photos, first.predicted, first.right) == (3, 1, 1)
    assert (first.recall, first.recall_interval) == (1 / 3, wilson(1 / 3, 3))
    assert (first.precision, first.precision_interval) == (1.0, wilson(1.0, 1))
    assert (second.recall, second.precision) == (1.0, 2 / 5)
    assert (third.recall, third.precision, third.precision_interval) == (0.0, None, None)


def test_pairs_and_mistakes_come_worst_first():
    assert [(one.true, one.predicted, one.count) for one in worst_pairs(PROBABILITIES, LABELS, most=5)] == [
        (0, 1, 2),
        (2, 1, 1),
    ]
    assert len(worst_pairs(PROBABILITIES, LABELS, most=1)) == 1
    assert mistakes(PROBABILITIES, LABELS).tolist() == [1, 2, 5]


def test_reliability_by_hand():
    found = reliability(PROBABILITIES, LABELS, bins=2)
    assert [(one.low, one.high, one.count) for one in found.bins] == [(0.5, 1.0, 6)]
    assert found.bins[0].confidence == pytest.approx((0.9 + 0.8 + 0.6 + 0.9 + 0.6 + 0.5) / 6)
    assert found.bins[0].accuracy == 0.5
    assert found.error == pytest.approx(found.bins[0].confidence - 0.5)
    assert reliability(np.eye(2), np.array([0, 1])).error == 0.0


def test_swapped_labels_are_doubted_and_no_others():
    true = np.repeat(np.arange(4), 50)
    probabilities = np.full((200, 4), 0.04)
    probabilities[np.arange(200), true] = np.tile([0.88, 0.92], 100)
    labels = true.copy()
    swapped = [3, 61, 121, 199]
    labels[swapped] = (true[swapped] + 1) % 4
    found = doubtful_labels(probabilities, labels)
    assert [one.row for one in found] == swapped, "equal margins in the order of photos"
    assert all(one.suggested == true[one.row] for one in found)
    assert [one.margin for one in found] == pytest.approx([0.88] * 4)


def test_a_photo_below_the_other_class_threshold_is_a_mistake_but_no_doubt():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.3, 0.7]])
    labels = np.array([0, 0, 1, 1, 0])
    assert mistakes(probabilities, labels).tolist() == [4]
    assert doubtful_labels(probabilities, labels) == ()


def test_a_class_without_photos_is_never_suggested():
    probabilities = np.array([[0.2, 0.1, 0.7], [0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    assert doubtful_labels(probabilities, np.array([0, 0, 1])) == ()


def test_wrong_shapes_raise():
    with pytest.raises(ValueError, match="expected probabilities"):
        class_scores(PROBABILITIES, LABELS[:2])
