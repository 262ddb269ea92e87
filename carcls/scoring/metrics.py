"""Classification metrics in NumPy.

Probabilities are float (n, classes) with rows summing to 1; labels are int (n,). Every function raises ValueError if
their shapes do not match or n is 0.
"""

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating]
Labels = NDArray[np.integer]

SMALLEST_PROBABILITY = 1e-7
"""Lower clip of probabilities before a logarithm, since float32 softmax rounds very unlikely classes to 0."""


def accuracy(probabilities: Probabilities, labels: Labels) -> float:
    """Share of photos whose most probable class is the true one."""
    _check(probabilities, labels)
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def log_loss(probabilities: Probabilities, labels: Labels) -> float:
    """Mean of -log p(true class) in nats; finite even where p is 0."""
    _check(probabilities, labels)
    true_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.mean(np.log(np.clip(true_class, SMALLEST_PROBABILITY, 1.0))))


def confusion(probabilities: Probabilities, labels: Labels) -> NDArray[np.int64]:
    """Counts (classes, classes): row is the true class, column the most probable one."""
    _check(probabilities, labels)
    counts = np.zeros((probabilities.shape[1],) * 2, np.int64)
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    return counts


def macro_f1(probabilities: Probabilities, labels: Labels) -> float:
    """Mean F1 over classes, without classes that occur neither in the labels nor in the predictions."""
    counts = confusion(probabilities, labels)
    # F1 = 2 TP / (2 TP + FP + FN); the denominator is the class's predictions plus its labels.
    occurrences = counts.sum(axis=0) + counts.sum(axis=1)
    seen = occurrences > 0
    return float(np.mean(2.0 * np.diag(counts)[seen] / occurrences[seen]))


def _check(probabilities: Probabilities, labels: Labels) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            "expected probabilities (n, classes) and labels (n,) with n > 0;"
            f" found {probabilities.shape} and {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(
            f"labels must lie in 0..{probabilities.shape[1] - 1}, found {labels.min()}..{labels.max()};"
            " -1 marks an unlabelled photo, which cannot be scored"
        )
