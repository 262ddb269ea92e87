"""Which photos an epoch shows, and in which order: pure functions of (labels, seed, epoch)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STREAM = 2
"""Sets the classes' cycles apart from all other draws of the same training seed: the first number of a spawn key."""


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """One epoch's photos, in the order of training."""

    photos: NDArray[np.int64]
    """(n,) rows of the training table."""
    showings: NDArray[np.int64]
    """(n,) how many times this photo was shown before, in this epoch and all earlier ones."""


def plain_order(count: int, *, seed: int, epoch: int) -> Order:
    """Every one of `count` photos once, shuffled anew in each epoch."""
    photos = _shuffle(seed, epoch).permutation(count)
    return Order(photos, np.full(count, epoch, np.int64))


def balanced_order(labels: NDArray[np.int64], *, seed: int, epoch: int) -> Order:
    """As many photos as there are labels (n,), from each class that has any equally many, give or take one.

    The classes take turns, and each goes through its photos in a cycle of its own, which the next epoch takes up where
    this one leaves it. So within an epoch no photo comes again before all of its class were there, and over any number
    of epochs the photos of a class are shown equally often, give or take one; so are the classes.
    """
    classes = np.unique(labels)
    turns = np.arange(epoch * len(labels), (epoch + 1) * len(labels))
    of_class, draw = turns % len(classes), turns // len(classes)
    photos, showings = np.empty_like(turns), np.empty_like(turns)
    for position, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        cycle = np.random.SeedSequence(seed, spawn_key=(_STREAM, int(label)))
        members = np.random.default_rng(cycle).permutation(members)
        mine = of_class == position
        showings[mine], places = np.divmod(draw[mine], len(members))
        photos[mine] = members[places]
    shuffled = _shuffle(seed, epoch).permutation(len(labels))
    return Order(photos[shuffled], showings[shuffled])


def _shuffle(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, epoch)))
