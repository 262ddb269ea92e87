"""Order of an epoch's photos, plain or class-balanced: pure functions of (labels, seed, epoch)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STREAM = 2
"""First number of the spawn key, which separates the classes' cycles from other draws of the same training seed."""


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """One epoch's photos, in the order of training."""

    photos: NDArray[np.int64]
    """(n,) rows of the training table."""
    showings: NDArray[np.int64]
    """(n,) how often each photo was shown before, in this epoch and all earlier ones."""


def plain_order(count: int, *, seed: int, epoch: int) -> Order:
    """Each of `count` photos once, reshuffled in every epoch."""
    photos = _shuffle(seed, epoch).permutation(count)
    return Order(photos, np.full(count, epoch, np.int64))


def balanced_order(labels: NDArray[np.int64], *, seed: int, epoch: int) -> Order:
    """As many photos as there are labels (n,), equally many from each non-empty class, give or take one.

    Classes take turns, and each runs through its own shuffled cycle, which the next epoch continues. Within an epoch no
    photo repeats before all others of its class were shown, and over any number of epochs the photos of a class, and
    the classes, are shown equally often, give or take one.
    """
    classes = np.unique(labels)
    # Turns are numbered over all epochs, so an epoch can be computed without the ones before it.
    turns = np.arange(epoch * len(labels), (epoch + 1) * len(labels))
    of_class, draw = turns % len(classes), turns // len(classes)  # (n,) class of each turn, its number in that class
    photos, showings = np.empty_like(turns), np.empty_like(turns)
    for position, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        cycle = np.random.SeedSequence(seed, spawn_key=(_STREAM, int(label)))
        members = np.random.default_rng(cycle).permutation(members)
        mine = of_class == position
        showings[mine], places = np.divmod(draw[mine], len(members))  # completed cycles, position in the current one
        photos[mine] = members[places]
    shuffled = _shuffle(seed, epoch).permutation(len(labels))
    return Order(photos[shuffled], showings[shuffled])


def _shuffle(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, epoch)))
