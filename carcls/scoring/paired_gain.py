"""Whether one training is better than another on the same photos, beyond chance. Pure functions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.bootstrap import mean_interval
from carcls.scoring.choices import scaled
from carcls.scoring.gains import FEWEST_UNITS
from carcls.scoring.metrics import accuracy


@dataclass(frozen=True, slots=True)
class PairedGain:
    """Scores of two trainings on the same photos, which neither was trained on."""

    photos: int
    accuracy_before: float
    accuracy_after: float
    saved: float
    """Mean temperature-scaled log-loss that the second saves per photo, in nats."""
    low: float
    """Of the bootstrap interval of `saved`."""
    high: float
    helps: bool
    """Whether the interval lies above 0 and accuracy is no lower; never with fewer than `FEWEST_UNITS` photos."""


def paired_gain(
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    labels: NDArray[np.integer],
    units: NDArray[np.integer],
    *,
    confidence: float,
    seed: int,
) -> PairedGain:
    """Compares two trainings by their probabilities (n, classes) of photos labelled (n,), n > 0.

    units: (n,) photos that look alike share a number; resampled as a whole (Efron 1979). The interval says how the gain
    varies with the photos. It does not say how two trainings of one kind differ: that takes more than one of each.
    A value that is not finite never helps.
    """
    differences = scaled(before, labels).losses - scaled(after, labels).losses
    low, high = mean_interval(differences, confidence, np.random.default_rng(seed), units)
    right_before, right_after = accuracy(before, labels), accuracy(after, labels)
    enough = len(np.unique(units)) >= FEWEST_UNITS
    return PairedGain(
        photos=len(labels),
        accuracy_before=right_before,
        accuracy_after=right_after,
        saved=float(differences.mean()),
        low=low,
        high=high,
        helps=bool(enough and low > 0.0 and right_after >= right_before),
    )
