"""Fills the batches of a stage up to one size, because XLA and JAX compile a step once for each size.

Batches of an epoch differ by one photo, and parts of batches do too. Missing rows are filled with empty photos that
count neither in the loss, which stays the mean over the real rows, nor in the metrics, nor in the statistics of a
BatchNorm that trains (see `carcls.training.steps.stage_model`). Where all sizes are equal, nothing is filled or added.
"""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig
from carcls.input.epoch_plan import Batch, batch_count, batch_slice
from carcls.training.steps.micro_batches import Accumulation

FilledBatch = tuple[tuple[NDArray[Any], NDArray[np.float32]], NDArray[np.float32], NDArray[np.float32]]
"""((inputs (b, ...), rows (b, 2)), labels (b, classes), weights of the metrics (b,)). The columns of `rows` are 1 for a
real row or 0 for an empty one, and the share of real rows in the batch, which is the same in every row."""


def filled_size(sizes: Iterable[int], *, devices: int = 1) -> int | None:
    """The size to which all batches are filled, or None if all have the same size already, a multiple of `devices`."""
    distinct = set(sizes)
    largest = -(-max(distinct) // devices) * devices
    return None if distinct == {largest} else largest


def stage_fill(
    config: TrainConfig, stage: int, cut: Accumulation | None, *, photos: int, devices: int = 1
) -> int | None:
    """`filled_size` of the batches of a stage, or of their parts if they are cut.

    photos: number of training photos. devices: over which each batch is spread evenly.
    """
    if cut is not None:
        return filled_size((part.rows.stop - part.rows.start for part in cut.parts), devices=devices)
    batch_size = config.stage_batch_size(stage)
    places = (
        batch_slice(number, photos=photos, batch_size=batch_size) for number in range(batch_count(photos, batch_size))
    )
    return filled_size((place.stop - place.start for place in places), devices=devices)


class ConstantBatches(keras.utils.PyDataset):
    """The batches of one epoch, filled up to `size` rows."""

    def __init__(self, batches: keras.utils.PyDataset, size: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._batches = batches
        self._size = size

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> FilledBatch:
        """Batch `number`, with its empty rows last, so that random layers draw the same for the real ones."""
        return filled(self._batches[number], self._size)


def filled(batch: Batch, size: int) -> FilledBatch:
    """A batch with empty rows added at its end."""
    x, y = batch
    real, missing = len(x), size - len(x)
    if missing:
        x = np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)])
        empty = np.zeros((missing, y.shape[1]), y.dtype)
        empty[:, 0] = 1.0  # a valid label, because a loss with class weights divides by their sum
        y = np.concatenate([y, empty])
    rows = np.full((size, 2), real / size, np.float32)
    rows[:, 0] = np.arange(size) < real
    return (x, rows), y, rows[:, 0]
