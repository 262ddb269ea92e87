"""What accuracy to expect on new photos, corrected for the choices made on the photos at hand. Pure functions.

Two corrections. A winner among many looks better than it is on the photos that chose it: the choice is repeated on
bootstrap samples and scored on the photos left out (Tsamardinos et al. 2018, 'Bootstrapping the out-of-sample
predictions for efficient and accurate cross-validation'). An average of models is better than its members, which is
all that out-of-fold photos tell of: how much better follows from how far the members disagree on photos that none of
them has seen, labelled or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.choices import Floats, Kept, kept_epochs

_Z_95 = 1.959964
_BOOTSTRAPS = 400
_GAIN_BOOTSTRAPS = 40
_LOSSES_AT_ONCE = 2_000_000
"""Of bootstrap samples: 16 MB."""
_STEPS = 30
"""Halvings of the logarithm of a factor between `_FLATTEST` and `_SHARPEST`."""
_FLATTEST, _SHARPEST = 0.05, 50.0
_SMALLEST = 1e-6

Interval = tuple[float, float]
"""(low, high)."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Accuracy on new photos, with its 95 % interval by the number of photos that it was measured on."""

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, eq=False, slots=True)
class Trained:
    """One training as a search could have chosen it: its epochs, each by its losses and hits on the same photos."""

    epochs: tuple[Kept, ...]
    hits: NDArray[np.bool_]
    """(epochs, photos)"""


def wilson(share: float, count: float) -> Interval:
    """95 % interval of a share seen in `count` > 0 independent draws (Wilson 1927); within 0..1."""
    spread = _Z_95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = sqrt(max(0.0, share * (1 - share)) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


@dataclass(frozen=True, eq=False, slots=True)
class Bags:
    """Bootstrap samples of n photos."""

    drawn: NDArray[np.int64]
    """(samples, n) rows."""
    left_out: NDArray[np.bool_]
    """(samples, n)"""


@dataclass(frozen=True, eq=False, slots=True)
class OutOfBag:
    """The weights that a training run would have kept by each bootstrap sample, and how good they are."""

    losses: Floats
    """(samples,) mean over the photos drawn, which decide between trainings."""
    accuracies: Floats
    """(samples,) over the photos left out; NaN where none is."""


def of_winner(trainings: Sequence[Trained], *, seed: int) -> Expectation:
    """Of the best of some trainings, by the mean loss of the weights that each keeps, all on the same n photos.

    The whole choice, of the epoch and of the training, is repeated on bootstrap samples. Raises ValueError without a
    training or with fewer than two photos.
    """
    photos = trainings[0].hits.shape[1] if trainings else 0
    if photos < 2:
        raise ValueError(f"expected trainings scored on 2 photos or more, found {len(trainings)} and {photos}")
    samples = bags(photos, seed=seed)
    return of_best([out_of_bag(training, samples) for training in trainings], photos)


def bags(photos: int, *, seed: int) -> Bags:
    """`_BOOTSTRAPS` samples of as many photos as there are."""
    drawn = np.random.default_rng(seed).integers(photos, size=(_BOOTSTRAPS, photos))
    left_out = np.ones(drawn.shape, np.bool_)
    np.put_along_axis(left_out, drawn, False, axis=1)
    return Bags(drawn, left_out)


def out_of_bag(training: Trained, samples: Bags) -> OutOfBag:
    """Which weights each sample keeps, by the training's own rule."""
    losses = np.stack([epoch.losses for epoch in training.epochs])
    in_bag, out = [], []
    parts = max(1, samples.drawn.size // _LOSSES_AT_ONCE)
    for drawn, left_out in zip(
        np.array_split(samples.drawn, parts), np.array_split(samples.left_out, parts), strict=True
    ):
        kept = kept_epochs(training.epochs, drawn) - 1
        in_bag.append(losses[kept[:, None], drawn].mean(axis=1))
        count = left_out.sum(axis=1)
        right = (training.hits[kept] & left_out).sum(axis=1)
        out.append(np.divide(right, count, out=np.full(len(count), np.nan), where=count > 0))
    return OutOfBag(np.concatenate(in_bag), np.concatenate(out))


def of_best(trainings: Sequence[OutOfBag], photos: int) -> Expectation:
    """Of the best of some trainings, on the same bootstrap samples of the same number of photos."""
    winners = np.argmin([one.losses for one in trainings], axis=0)
    accuracies = np.stack([one.accuracies for one in trainings])[winners, np.arange(len(winners))]
    accuracy = float(np.nanmean(accuracies))
    return Expectation(accuracy, *wilson(accuracy, photos))


def luck(validated: float, expected: Expectation) -> float:
    """By how much the photos that chose a winner flatter it; no less than 0."""
    return max(0.0, validated - expected.accuracy)


def of_average(
    hits: NDArray[np.bool_], members: NDArray[np.floating], *, seed: int, correction: float = 0.0
) -> Expectation:
    """Of the average of K models, from out-of-fold photos and from photos that no model has seen.

    hits: (n,) whether the one model that had not seen a photo was right. members: (K, m, classes) probabilities, m > 0
    photos without labels. correction: added to the accuracy, for choices that the photos took part in.
    """
    return corrected(average_gain(hits, members, seed=seed), correction)


@dataclass(frozen=True, slots=True)
class AverageGain:
    """What averaging models gains over one of them."""

    single: float
    """Accuracy of the models on photos that each had not seen."""
    photos: int
    gain: float
    variance: float
    """Of the gain."""


def average_gain(hits: NDArray[np.bool_], members: NDArray[np.floating], *, seed: int) -> AverageGain:
    """Arguments as of `of_average`."""
    single = float(hits.mean())
    rng = np.random.default_rng(seed)
    photos = members.shape[1]
    again = [
        ensemble_gain(members[:, rng.integers(photos, size=photos)], float(rng.binomial(len(hits), single)) / len(hits))
        for _ in range(_GAIN_BOOTSTRAPS)
    ]
    return AverageGain(single, len(hits), ensemble_gain(members, single), float(np.var(again, ddof=1)))


def corrected(found: AverageGain, correction: float) -> Expectation:
    """Of the average, with a correction of its accuracy for choices that the photos took part in."""
    accuracy = min(1.0, max(0.0, found.single + found.gain + correction))
    spread = max(accuracy * (1.0 - accuracy), 1e-9)
    # The gain is a difference on other photos than the hits are: variances add.
    variance = spread / found.photos + found.variance
    return Expectation(accuracy, *wilson(accuracy, spread / variance))


def ensemble_gain(members: NDArray[np.floating], single: float) -> float:
    """How much more accurate the average of K models is than one of them, by their disagreement alone.

    members: (K, m, classes). single: the accuracy of one model on such photos. The average's probabilities are taken
    for the truth, sharpened or flattened by the power at which they say `single` of the members; what they then say of
    the average's own answers is its accuracy. 0 for one member.
    """
    mean = np.clip(members.mean(axis=0, dtype=np.float64), _SMALLEST, 1.0)
    logs = np.log(mean)
    rows = np.arange(mean.shape[0])
    answers, together = members.argmax(axis=2), mean.argmax(axis=1)
    low, high = np.log(_FLATTEST), np.log(_SHARPEST)
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _said_of(logs, np.exp(middle), rows, answers) < single else (low, middle)
    factor = float(np.exp((low + high) / 2.0))
    return _said_of(logs, factor, rows, together[None]) - _said_of(logs, factor, rows, answers)


def _said_of(logs: Floats, factor: float, rows: NDArray[np.int64], answers: NDArray[np.int64]) -> float:
    """Mean probability of answers (K, m) by log-probabilities (m, classes) times a factor, renormalised."""
    raised = np.exp(factor * (logs - logs.max(axis=1, keepdims=True)))
    raised /= raised.sum(axis=1, keepdims=True)
    return float(raised[rows, answers].mean())
