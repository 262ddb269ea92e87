"""The learning-rate range test (Smith 2017, 'Cyclical Learning Rates for Training Neural Networks'): its rates, when it
ends, and what it suggests. Pure functions."""

from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

DIVERGED_AT = 4.0
"""Multiple of the lowest smoothed loss at which training counts as diverged, as in fastai's `LRFinder`."""
DIVISOR = 10.0
"""The suggestion is the rate of the lowest smoothed loss, divided by this, as fastai's `minimum`."""
_DECAY = 0.8
"""Of a loss's weight per step of distance."""
_REACH = 15
"""Steps on each side; farther ones would weigh less than 4 %."""
_SMALLEST_FALL = 0.01
"""Share of its first value by which the loss must fall for a suggestion."""
_ERROR_OF_FALL = 0.42
"""Standard error of a difference between the first smoothed loss, which has neighbours on one side, and another, for
batches' losses that scatter by 1. A smaller fall is noise."""
_SMALLEST_LOSS = 0.1
"""Nats. A lower lowest loss counts as this much for `DIVERGED_AT`: near zero, one misread photo is a multiple of it."""


def rising_rates(low: float, high: float, steps: int) -> NDArray[np.float64]:
    """(steps,) rates from `low` to `high`, each the same multiple of the one before. Raises ValueError."""
    if not 0.0 < low < high or steps < 2:
        raise ValueError(f"expected rates 0 < low < high and 2 steps or more, found {low:g}, {high:g}, {steps}")
    return np.geomspace(low, high, steps)


def smoothed(losses: Sequence[float]) -> NDArray[np.float64]:
    """(n,) each loss averaged with those around it, so that it lags neither way. Where a loss is not finite it is NaN,
    and has no part in the others.

    Losses of single batches are too noisy for a minimum. fastai's average over past steps alone would find it too late.
    """
    told = np.asarray(losses, np.float64)
    if not len(told):
        return told
    known = np.isfinite(told)
    filled = np.where(known, told, 0.0)
    kernel = _DECAY ** np.abs(np.arange(-_REACH, _REACH + 1))
    weights = np.convolve(known.astype(np.float64), kernel)[_REACH : _REACH + len(told)]
    sums = np.convolve(filled, kernel)[_REACH : _REACH + len(told)]
    return np.divide(sums, weights, out=np.full(len(told), np.nan), where=known)


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether training may end after these steps: a loss is not finite, or the latest are far above the lowest."""
    if not losses:
        return False
    if not isfinite(losses[-1]):
        return True
    curve = smoothed(losses)
    return bool(curve[-1] > DIVERGED_AT * max(np.nanmin(curve), _SMALLEST_LOSS))


def suggested_rate(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """A tenth of the rate at which the smoothed loss is lowest, but not below the first rate.

    None if the loss never clearly fell: too few steps, rates that are too high from the first step on, or little left
    to learn. rates, losses: of the steps that were trained.
    """
    curve = smoothed(losses)
    if not len(curve) or not np.isfinite(curve).any():
        return None
    lowest = int(np.nanargmin(curve))
    noise = _ERROR_OF_FALL * _scatter(losses[: lowest + 1])
    if not curve[0] - curve[lowest] > max(noise, _SMALLEST_FALL * curve[0]):
        return None
    return max(float(rates[lowest]) / DIVISOR, float(rates[0]))


def _scatter(losses: Sequence[float]) -> float:
    """Standard deviation of batches' losses around their course, by the differences of neighbours (von Neumann 1941),
    which a slow course changes little. 0 for fewer than two."""
    told = np.asarray(losses, np.float64)
    steps = np.diff(told[np.isfinite(told)])
    return float(np.sqrt(np.mean(steps**2) / 2)) if len(steps) else 0.0
