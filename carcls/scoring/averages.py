"""What accuracy to expect of an average of models, from photos that each has not seen. Pure functions.

An average is better than its members, and out-of-fold photos tell only of the members. How much it gains follows from
how far the members disagree on photos that none of them has seen, labelled or not (the ambiguity of Krogh and Vedelsby
1995, 'Neural network ensembles, cross validation, and active learning').

The mean of the members' log-probabilities, calibrated, says how often the average's answers are right and how often
theirs are. Their difference in log-odds is what the average promises. Labelled photos calibrate one model. It spreads
wider than the truth because of its own noise, of which the mean of K models has less, so the mean needs less damping:
by the ratio of variances (Spearman 1904, 'The proof and measurement of association between two things', on attenuation
by errors of measurement). Recorded models say how much of a promise is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot, inf, lcm, log

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.choices import scaled
from carcls.scoring.expectation import Z_95, Expectation, wilson
from carcls.scoring.gains import Normal, mean_gain
from carcls.scoring.metrics import SMALLEST_PROBABILITY, accuracy

KEPT = Normal(1.01, 0.09)
"""What averages gain in log-odds, as a multiple of what they promise: mean over recorded data sets, and standard
deviation on one more. `python -m benchmarks.truth` measures it."""

KEPT_OF_SEVERAL = Normal(1.06, 0.17)
"""The same of averages of several configurations, with members as of `members_of_several`."""

_SMALLEST_VARIANCE = 1e-9
"""Of log-probabilities; models that always say the same of all classes have none."""


@dataclass(frozen=True, slots=True)
class AverageGain:
    """What averaging models gains over one of them."""

    single: float
    """Accuracy of the models on photos that each had not seen."""
    photos: int
    log_odds: Normal
    """Gain in log-odds, by averaging."""


def of_average(
    said: NDArray[np.floating],
    labels: NDArray[np.integer],
    members: NDArray[np.floating],
    *,
    correction: float = 0.0,
    kept: Normal = KEPT,
) -> Expectation:
    """Of the average of K models, from out-of-fold photos and from photos that no model has seen.

    said: (n, classes) probabilities of labelled photos, each by the one model that had not seen it. labels: (n,), n >
    0. members: (K, m, classes) probabilities of other photos, whose labels are not needed. correction: added to the
    members' accuracy, for choices that the labelled photos took part in. kept: see `KEPT`.

    With fewer than `gains.FEWEST_UNITS` other photos, the interval reaches from 0 to 1.
    """
    return corrected(average_gain(said, labels, members, kept=kept), correction)


def members_of_several(groups: Sequence[NDArray[np.floating]], shares: Sequence[float]) -> NDArray[np.floating]:
    """Members whose average is that of several groups of models, each of them one model of every group.

    groups: (K, m, classes) probabilities of the same m photos, where K may differ. shares: of each group. Labelled
    photos tell of such a member if each group predicted them out-of-fold. Returns (L, m, classes), where L is the least
    common multiple of all K: each model is in as many members as the others of its group.
    """
    numbers = np.arange(lcm(*(len(group) for group in groups)))
    members = np.zeros((len(numbers), *groups[0].shape[1:]))
    for group, share in zip(groups, shares, strict=True):
        members += share * group[numbers % len(group)]
    return members


def average_gain(
    said: NDArray[np.floating],
    labels: NDArray[np.integer],
    members: NDArray[np.floating],
    *,
    kept: Normal = KEPT,
) -> AverageGain:
    """Arguments as of `of_average`; kept: see `KEPT`."""
    promise = promised(members, scaled(said, labels).factor)
    error = hypot(kept.mean * promise.sd, promise.mean * kept.sd)
    return AverageGain(accuracy(said, labels), len(labels), Normal(kept.mean * promise.mean, error))


def promised(members: NDArray[np.floating], factor: float) -> Normal:
    """By how much an average of K models promises to be better than they are, in log-odds.

    members: (K, m, classes) probabilities. factor: multiplies log-probabilities so that they suit one model, see
    `choices.scaled`. The standard error is over photos, by the delta method.
    """
    logs = np.log(np.clip(members, SMALLEST_PROBABILITY, 1.0, dtype=np.float64))
    logs -= logs.mean(axis=2, keepdims=True)
    mean = logs.mean(axis=0)
    ratio = float(np.square(logs).mean()) / max(float(np.square(mean).mean()), _SMALLEST_VARIANCE)
    undamped = min(ratio, len(members))  # K if the models have nothing but noise
    logits = factor * undamped * mean
    pool = np.exp(logits - logits.max(axis=1, keepdims=True))
    pool /= pool.sum(axis=1, keepdims=True)
    rows = np.arange(len(pool))
    together = pool[rows, members.mean(axis=0).argmax(axis=1)]
    alone = pool[rows, members.argmax(axis=2)].mean(axis=0)
    means = [_within(float(one.mean()), len(pool)) for one in (together, alone)]
    # Of each photo, to first order: d log-odds / d p = 1 / (p (1 - p)).
    pulls = [one / (share * (1.0 - share)) for one, share in zip((together, alone), means, strict=True)]
    return Normal(_log_odds(means[0]) - _log_odds(means[1]), mean_gain(pulls[0] - pulls[1], rows).sd)


def corrected(found: AverageGain, correction: float) -> Expectation:
    """Of the average, with a correction of its members' accuracy for choices that the photos took part in.

    The interval adds the half-widths of accuracy and gain in squares, in log-odds and each side on its own (Zou and
    Donner 2008, 'Construction of confidence limits about effect measures'): they are measured on different photos.
    """
    alone = min(1.0, max(0.0, found.single + correction))
    low, high = wilson(alone, found.photos)
    margin = Z_95 * found.log_odds.sd
    single = _log_odds(_within(alone, found.photos))
    below = hypot(single - _log_odds(low), margin)
    above = hypot(_log_odds(high) - single, margin)
    together = single + found.log_odds.mean
    return Expectation(_share(together), _share(together - below), _share(together + above))


def _within(share: float, photos: int) -> float:
    """A share that is neither 0 nor 1: at least half a photo is right, and half a photo wrong."""
    return min(max(share, 0.5 / photos), 1.0 - 0.5 / photos)


def _log_odds(share: float) -> float:
    if 0.0 < share < 1.0:
        return log(share / (1.0 - share))
    return inf if share else -inf


def _share(log_odds: float) -> float:
    """Inverse of `_log_odds`."""
    return 1.0 / (1.0 + exp(-log_odds)) if log_odds > 0 else exp(log_odds) / (1.0 + exp(log_odds))
