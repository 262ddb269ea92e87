"""What accuracy to expect of an average of models, from photos that each has not seen. Pure functions.

An average is better than its members, and out-of-fold photos tell only of the members. How much it gains follows from
how far the members disagree on photos that none of them has seen, labelled or not: the ambiguity of Krogh and Vedelsby
(1995), 'Neural network ensembles, cross validation, and active learning'.
"""

from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.choices import Floats
from carcls.scoring.expectation import Z_95, Expectation, wilson
from carcls.scoring.gains import Normal

SHORTFALL = Normal(0.5, 0.3)
"""By how much the gain exceeds what `ensemble_gain` says, in units of 1 / (K (K - 1)) of it. An average of K models
agrees with its own members more than the truth does, the more so the fewer they are. Mean over recorded data sets and
standard deviation for one more; `python -m benchmarks.truth` measures it."""

_BOOTSTRAPS = 40
_STEPS = 30
"""Halvings of the logarithm of a factor between `_FLATTEST` and `_SHARPEST`."""
_FLATTEST, _SHARPEST = 0.05, 50.0
_SMALLEST = 1e-6


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


def average_gain(
    hits: NDArray[np.bool_], members: NDArray[np.floating], *, seed: int, shortfall: Normal = SHORTFALL
) -> AverageGain:
    """Arguments as of `of_average`; shortfall: see `SHORTFALL`."""
    single = float(hits.mean())
    rng = np.random.default_rng(seed)
    photos = members.shape[1]
    again = [
        ensemble_gain(members[:, rng.integers(photos, size=photos)], float(rng.binomial(len(hits), single)) / len(hits))
        for _ in range(_BOOTSTRAPS)
    ]
    said = ensemble_gain(members, single)
    share = of_shortfall(len(members))
    factor = 1.0 + share * shortfall.mean
    variance = factor**2 * float(np.var(again, ddof=1)) + (said * share * shortfall.sd) ** 2
    return AverageGain(single, len(hits), factor * said, variance)


def of_shortfall(models: int) -> float:
    """The share of a shortfall that an average of some models has; 0 of one model."""
    return 1.0 / (models * (models - 1)) if models > 1 else 0.0


def corrected(found: AverageGain, correction: float) -> Expectation:
    """Of the average, with a correction of its accuracy for choices that the photos took part in.

    The interval adds the half-widths of accuracy and gain in squares, each side on its own (Zou and Donner 2008,
    'Construction of confidence limits about effect measures'): they are measured on different photos.
    """
    accuracy = min(1.0, max(0.0, found.single + found.gain + correction))
    low, high = wilson(found.single, found.photos)
    margin = Z_95 * sqrt(found.variance)
    below, above = hypot(found.single - low, margin), hypot(high - found.single, margin)
    return Expectation(accuracy, max(0.0, accuracy - below), min(1.0, accuracy + above))


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
