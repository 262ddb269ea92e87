"""The plan of an epoch: the order of photos, their views, and their batches. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from carcls.augment.erasing import erase
from carcls.augment.mixing import Mixing
from carcls.augment.views import write_view
from carcls.config import TrainConfig
from carcls.input.pixels import Pixels
from carcls.input.sampling import balanced_order, plain_order

Batch = tuple[NDArray[Any], NDArray[np.float32]]
"""Inputs of the model, and labels float32 (b, classes) with rows summing to 1."""


def view_numbers(showings: NDArray[np.int64], views: int) -> NDArray[np.int64]:
    """Views of photos that have been shown `showings` times before: that number, mod `views` unless `views` is 0.

    If every epoch shows every photo once, the view is the epoch (0-based, over all stages) mod `views`.
    """
    return showings % views if views else showings


def batch_slice(number: int, *, photos: int, batch_size: int) -> slice:
    """Positions of batch `number` in the epoch's order.

    Batch sizes differ by at most one, since a last batch of one photo would be a full step and have no variance. Only
    with `batch_size` 2 and an odd number of photos one batch has a single photo, as three would exceed the size.
    """
    batches = batch_count(photos, batch_size)
    return slice(number * photos // batches, (number + 1) * photos // batches)


def batch_count(photos: int, batch_size: int) -> int:
    """The fewest batches of at most `batch_size` photos."""
    return -(-photos // batch_size)


def one_hot(labels: NDArray[np.int64], class_count: int) -> NDArray[np.float32]:
    """Labels (n,) -> float32 (n, class_count)."""
    return np.eye(class_count, dtype=np.float32)[labels]


class Plan(Protocol):
    """The batches of one epoch. `batch` is pure and thread-safe."""

    @property
    def batch_count(self) -> int:
        """Number of batches in the epoch."""

    def batch(self, number: int) -> Batch:
        """Batch `number`, counted from 0, as new arrays."""


@dataclass(frozen=True, eq=False)
class ArrayPlan:
    """An epoch over arrays that are already in order."""

    x: NDArray[Any]
    """(n, ...)"""
    y: NDArray[np.float32]
    """(n, classes)"""
    batch_size: int

    @property
    def batch_count(self) -> int:
        """The fewest batches of at most `batch_size` examples."""
        return batch_count(len(self.x), self.batch_size)

    def batch(self, number: int) -> Batch:
        """Rows of x and y."""
        places = batch_slice(number, photos=len(self.x), batch_size=self.batch_size)
        return self.x[places], self.y[places]


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """The photos of one epoch with their order and views. `batch` is pure and thread-safe."""

    pixels: Pixels
    """(n, height, width, 3), read-only."""
    labels: NDArray[np.int64]
    """(n,)"""
    order: NDArray[np.int64]
    """(n,) rows of `pixels` and `labels`. With balanced sampling some occur repeatedly and some not at all."""
    views: NDArray[np.int64]
    """(n,) view of each photo in `order`."""
    class_count: int
    batch_size: int
    policy: str
    view_seed: int
    mixing: Mixing
    erase: float = 0.0
    """Probability of random erasing, see `erasing.erase`."""
    cached: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    """Precomputed views of all photos by number, each (n, height, width, 3). Other views are computed."""

    @property
    def batch_count(self) -> int:
        """The fewest batches of at most `batch_size` photos."""
        return batch_count(len(self.order), self.batch_size)

    def batch(self, number: int, out: NDArray[np.uint8] | None = None) -> Batch:
        """Photos uint8 (b, height, width, 3) and labels float32 (b, class_count), which are one-hot unless mixed.

        out: buffer for the photos, uint8 (batch_size, height, width, 3) in C order, or None to allocate one.
        """
        places = batch_slice(number, photos=len(self.order), batch_size=self.batch_size)
        photos = self.order[places]
        y = one_hot(self.labels[photos], self.class_count)
        seen = np.empty((len(photos), *self.pixels.shape[1:]), np.uint8) if out is None else out[: len(photos)]
        self._render(seen, photos, self.views[places])
        x, y = self.mixing.apply((seen, y), number)
        if out is None or x is seen:
            return x, y
        seen[:] = x
        return seen, y

    def _render(self, x: NDArray[np.uint8], photos: NDArray[np.int64], views: NDArray[np.int64]) -> None:
        """Writes photos (b,) in views (b,) to x, uint8 (b, height, width, 3)."""
        if self.policy == "none":
            x[:] = self.pixels[photos]
        else:
            self._render_views(x, photos, views)
        if self.erase:
            for row, photo, view in zip(x, photos.tolist(), views.tolist(), strict=True):
                erase(row, self.erase, seed=self.view_seed, view=view, index=photo)

    def _render_views(self, x: NDArray[np.uint8], photos: NDArray[np.int64], views: NDArray[np.int64]) -> None:
        for row, photo, view in zip(x, photos.tolist(), views.tolist(), strict=True):
            if view in self.cached:
                row[:] = self.cached[view][photo]
            else:
                write_view(row, self.policy, self.pixels[photo], seed=self.view_seed, view=view, index=photo)


def epoch_order(
    config: TrainConfig, labels: NDArray[np.int64], epoch: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Photos (n,) that an epoch (0-based, over all stages) shows, in order, and their views (n,).

    labels: (n,) labels of the training photos.
    """
    if config.class_balance == "sampling":
        order = balanced_order(labels, seed=config.seed, epoch=epoch)
    else:
        order = plain_order(len(labels), seed=config.seed, epoch=epoch)
    return order.photos, view_numbers(order.showings, config.augment.views)
