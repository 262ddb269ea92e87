"""What a classifier gets wrong: scores of each class, classes taken for one another, calibration, doubtful labels.

Pure. Probabilities are float (n, classes) with rows summing to 1; labels are int (n,). Every function raises ValueError
if their shapes do not match or n is 0, as in `carcls.scoring.metrics`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.expectation import Interval, wilson
from carcls.scoring.metrics import Labels, Probabilities, confusion

_ROUNDING = 1e-6
"""Equal probabilities reach their own mean despite rounding; cleanlab has the same allowance."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Precision and recall of one class, with 95 % Wilson intervals."""

    label: int
    photos: int
    """Photos of this class."""
    predicted: int
    """Photos taken for this class, rightly or not."""
    right: int
    precision: float | None
    """None if no photo was taken for this class."""
    precision_interval: Interval | None
    recall: float | None
    """None if the scored photos have none of this class."""
    recall_interval: Interval | None


@dataclass(frozen=True, slots=True)
class ClassPair:
    """Photos of one class that were taken for another."""

    true: int
    predicted: int
    count: int


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Photos whose highest probability lies in one interval of equal width."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean of their highest probabilities."""
    accuracy: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far the probabilities can be believed (Guo et al. 2017, 'On Calibration of Modern Neural Networks')."""

    bins: tuple[ReliabilityBin, ...]
    """Without empty ones."""
    error: float
    """Expected calibration error: mean distance between confidence and accuracy, weighted by photos."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A photo whose label the model contradicts with confidence."""

    row: int
    suggested: int
    margin: float
    """p(suggested) - p(label); larger is more doubtful."""


def class_scores(probabilities: Probabilities, labels: Labels) -> tuple[ClassScore, ...]:
    """One entry for each class, in class order."""
    counts = confusion(probabilities, labels)
    return tuple(
        _class_score(label, int(counts[label].sum()), int(counts[:, label].sum()), int(counts[label, label]))
        for label in range(len(counts))
    )


def _class_score(label: int, photos: int, predicted: int, right: int) -> ClassScore:
    precision, recall = (right / of if of else None for of in (predicted, photos))
    return ClassScore(
        label=label,
        photos=photos,
        predicted=predicted,
        right=right,
        precision=precision,
        precision_interval=None if precision is None else wilson(precision, predicted),
        recall=recall,
        recall_interval=None if recall is None else wilson(recall, photos),
    )


def worst_pairs(probabilities: Probabilities, labels: Labels, *, most: int) -> tuple[ClassPair, ...]:
    """The pairs of classes with the most mistakes, at most `most`; equal counts in class order."""
    counts = confusion(probabilities, labels)
    np.fill_diagonal(counts, 0)
    flat = np.argsort(-counts, axis=None, kind="stable")[:most]
    pairs = ((*divmod(int(at), len(counts)), int(counts.flat[at])) for at in flat)
    return tuple(ClassPair(true, predicted, count) for true, predicted, count in pairs if count)


def mistakes(probabilities: Probabilities, labels: Labels) -> NDArray[np.int64]:
    """Rows of wrongly classified photos, the most confident mistake first."""
    rows = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return rows[np.argsort(-probabilities[rows].max(axis=1), kind="stable")]


def reliability(probabilities: Probabilities, labels: Labels, *, bins: int = 10) -> Reliability:
    """Accuracy by confidence, in bins of equal width."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    hits = probabilities.argmax(axis=1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    found = []
    for place in range(bins):
        inside = places == place
        if inside.any():
            found.append(
                ReliabilityBin(
                    low=place / bins,
                    high=(place + 1) / bins,
                    count=int(inside.sum()),
                    confidence=float(confidence[inside].mean()),
                    accuracy=float(hits[inside].mean()),
                )
            )
    error = sum(one.count * abs(one.confidence - one.accuracy) for one in found) / len(labels)
    return Reliability(tuple(found), error)


def doubtful_labels(probabilities: Probabilities, labels: Labels) -> tuple[Doubt, ...]:
    """Photos that are likely mislabelled, the most doubtful first.

    Confident learning (Northcutt, Jiang and Chuang 2021, 'Confident Learning: Estimating Uncertainty in Dataset
    Labels'): a class's threshold is the mean probability of that class over the photos that carry its label. A label
    is doubtful if, of all classes that reach their threshold for this photo, the most probable is another one. The
    probabilities must come from a model that did not train on these photos.
    """
    probabilities = probabilities.astype(np.float64)
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.zeros(probabilities.shape[1])
    np.add.at(sums, labels, probabilities[np.arange(len(labels)), labels])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= thresholds - _ROUNDING, probabilities, -1.0)
    suggested = confident.argmax(axis=1)
    rows = np.flatnonzero((confident.max(axis=1) >= 0.0) & (suggested != labels))
    margins = probabilities[rows, suggested[rows]] - probabilities[rows, labels[rows]]
    order = np.argsort(-margins, kind="stable")
    return tuple(Doubt(int(rows[at]), int(suggested[rows[at]]), float(margins[at])) for at in order)
