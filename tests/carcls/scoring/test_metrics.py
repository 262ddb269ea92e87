"""Metrics compared with scikit-learn and with values computed by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from carcls.scoring import metrics


@st.composite
def predictions(draw):
    """Probabilities (n, c) without ties, and labels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, classes = draw(st.integers(1, 60)), draw(st.integers(2, 7))
    sharpness = draw(st.sampled_from([0.05, 1.0, 20.0]))
    return rng.dirichlet(np.full(classes, sharpness), n), rng.integers(0, classes, n)


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_agrees_with_scikit_learn(case):
    probabilities, labels = case
    found = probabilities.argmax(axis=1)
    classes = list(range(probabilities.shape[1]))
    assert metrics.accuracy(probabilities, labels) == pytest.approx(sk.accuracy_score(labels, found))
    assert metrics.macro_f1(probabilities, labels) == pytest.approx(sk.f1_score(labels, found, average="macro"))
    np.testing.assert_array_equal(
        metrics.confusion(probabilities, labels), sk.confusion_matrix(labels, found, labels=classes)
    )
    clipped = np.clip(probabilities, metrics.SMALLEST_PROBABILITY, 1.0)
    expected = sk.log_loss(labels, clipped / clipped.sum(axis=1, keepdims=True), labels=classes)
    assert metrics.log_loss(probabilities, labels) == pytest.approx(expected, abs=1e-5)


def test_values_computed_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    labels = np.array([0, 0, 1, 2])
    assert metrics.accuracy(probabilities, labels) == 0.75
    assert metrics.confusion(probabilities, labels).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert metrics.macro_f1(probabilities, labels) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert metrics.log_loss(probabilities, labels) == pytest.approx(-np.log(0.7 * 0.4 * 0.8 * 0.4) / 4)


def test_a_certain_mistake_costs_much_but_not_infinitely():
    certain = np.array([[1.0, 0.0]], dtype=np.float32)
    assert metrics.log_loss(certain, np.array([1])) == pytest.approx(-np.log(metrics.SMALLEST_PROBABILITY))


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "macro_f1", "confusion"])
@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((2, 3), [0], "found \\(2, 3\\) and \\(1,\\)"),
        ((0, 3), [], "n > 0"),
        ((3,), [0, 0, 0], "expected probabilities"),
        ((2, 3), [0, 3], "0..2, found 0..3"),
        ((2, 3), [0, -1], "unlabelled"),
    ],
)
def test_mismatched_shapes_are_refused(metric, shape, labels, message):
    with pytest.raises(ValueError, match=message):
        getattr(metrics, metric)(np.full(shape, 1 / 3), np.array(labels, dtype=np.int64))
