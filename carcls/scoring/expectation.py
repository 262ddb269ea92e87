"""What accuracy to expect on new photos, corrected for the choices made on the photos at hand. Pure functions.

A winner among many looks better than it is on the photos that chose it. So the choice is repeated on samples of nine
tenths of the photos and scored on the tenth left out (Varma and Simon 2006, 'Bias in error estimation when using
cross-validation for model selection'). Bootstrap samples (Tsamardinos et al. 2018) hold 63 % of the photos, choose
worse than all photos do, and so expect too little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from carcls.scoring.choices import Floats, Kept, kept_epochs

Z_95 = 1.959964
_SAMPLES = 400
_LEFT_OUT = 0.1
"""Share of the photos that a sample leaves out."""
_LOSSES_AT_ONCE = 2_000_000
"""Of samples: 16 MB."""

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
    spread = Z_95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = sqrt(max(0.0, share * (1 - share)) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


@dataclass(frozen=True, eq=False, slots=True)
class Bags:
    """Samples of n photos, without replacement."""

    drawn: NDArray[np.int64]
    """(samples, drawn) rows."""
    left_out: NDArray[np.bool_]
    """(samples, n)"""


@dataclass(frozen=True, eq=False, slots=True)
class OutOfBag:
    """The weights that a training run would have kept by each sample, and how good they are."""

    losses: Floats
    """(samples,) mean over the photos drawn, which decide between trainings."""
    accuracies: Floats
    """(samples,) over the photos left out."""


def of_winner(trainings: Sequence[Trained], *, seed: int) -> Expectation:
    """Of the best of some trainings, by the mean loss of the weights that each keeps, all on the same n photos.

    The whole choice, of the epoch and of the training, is repeated on samples. Raises ValueError without a
    training or with fewer than two photos.
    """
    photos = trainings[0].hits.shape[1] if trainings else 0
    if photos < 2:
        raise ValueError(f"expected trainings scored on 2 photos or more, found {len(trainings)} and {photos}")
    samples = bags(photos, seed=seed)
    return of_best([out_of_bag(training, samples) for training in trainings], photos)


def bags(photos: int, *, seed: int) -> Bags:
    """`_SAMPLES` random samples of two photos or more, each without `_LEFT_OUT` of them, and without one at least."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(np.arange(photos), (_SAMPLES, 1)), axis=1)
    count = max(1, round(photos * _LEFT_OUT))
    left_out = np.zeros(shuffled.shape, np.bool_)
    np.put_along_axis(left_out, shuffled[:, :count], True, axis=1)
    return Bags(shuffled[:, count:], left_out)


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
        out.append((training.hits[kept] & left_out).sum(axis=1) / left_out.sum(axis=1))
    return OutOfBag(np.concatenate(in_bag), np.concatenate(out))


def of_best(trainings: Sequence[OutOfBag], photos: int) -> Expectation:
    """Of the best of some trainings, on the same samples of the same number of photos."""
    winners = np.argmin([one.losses for one in trainings], axis=0)
    accuracies = np.stack([one.accuracies for one in trainings])[winners, np.arange(len(winners))]
    accuracy = float(accuracies.mean())
    return Expectation(accuracy, *wilson(accuracy, photos))


def luck(validated: float, expected: Expectation) -> float:
    """By how much the photos that chose a winner flatter it; no less than 0."""
    return max(0.0, validated - expected.accuracy)
