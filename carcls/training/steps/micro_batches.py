"""Splits batches that do not fit the device's memory into parts, which together count as one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig
from carcls.input.epoch_plan import Batch, batch_count, batch_slice
from carcls.input.prefetch import EpochBatches
from carcls.training.steps.min_micro_batch import min_micro_batch

MicroBatch = int | Sequence[int | None] | None
"""Photos per forward pass, at least 1; a sequence has one value per stage; None means whole batches. Raised to
`min_micro_batch` if that is more."""


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive photos of one batch that go through the model at once."""

    batch: int
    """Number of its batch, counted from 0."""
    rows: slice
    """Its photos within the batch."""
    share: float
    """Its share of the batch's photos, which weights its mean gradient."""
    is_first: bool
    is_last: bool
    """True for the part that completes the batch, after which the optimizer steps."""


@dataclass(frozen=True, slots=True)
class Accumulation:
    """How the epochs of a stage are split into parts. All epochs are split in the same way."""

    micro_batch: int
    """Maximum number of photos per part."""
    parts: tuple[Part, ...]
    """All parts of one epoch, in order."""

    def by_step(self, by_batch: Mapping[int, float]) -> dict[int, float]:
        """Converts values by batch number to values by part number."""
        return {step: by_batch[part.batch] for step, part in enumerate(self.parts) if part.batch in by_batch}

    def table(self, field: str) -> NDArray[Any]:
        """One field of all parts, as an array (parts,)."""
        return np.array([getattr(part, field) for part in self.parts])


def accumulation(micro_batch: MicroBatch, config: TrainConfig, stage: int, *, photos: int) -> Accumulation | None:
    """How a stage's epochs of `photos` photos are split, or None for whole batches.

    Raises ValueError for a micro-batch below 1, and for a sequence without one value per stage.
    """
    if isinstance(micro_batch, Sequence):
        if len(micro_batch) != len(config.stages):
            raise ValueError(
                f"micro_batch has {len(micro_batch)} values, expected one for each of the {len(config.stages)} stages"
            )
        micro_batch = micro_batch[stage]
    if micro_batch is not None and micro_batch < 1:
        raise ValueError(f"micro_batch must be at least 1, found {micro_batch}")
    if micro_batch is not None:
        micro_batch = max(micro_batch, min_micro_batch(config, stage))
    batch_size = config.stage_batch_size(stage)
    if micro_batch is None or micro_batch >= batch_size:
        return None
    return Accumulation(micro_batch, parts(photos, batch_size=batch_size, micro_batch=micro_batch))


def parts(photos: int, *, batch_size: int, micro_batch: int) -> tuple[Part, ...]:
    """All parts of an epoch: each batch in the fewest parts of at most `micro_batch` photos, evenly sized. Pure."""
    return tuple(
        part
        for number in range(batch_count(photos, batch_size))
        for part in _parts_of(number, _length(batch_slice(number, photos=photos, batch_size=batch_size)), micro_batch)
    )


def _parts_of(batch: int, photos: int, micro_batch: int) -> list[Part]:
    count = batch_count(photos, micro_batch)
    rows = [batch_slice(number, photos=photos, batch_size=micro_batch) for number in range(count)]
    return [
        Part(batch, places, _length(places) / photos, is_first=number == 0, is_last=number == count - 1)
        for number, places in enumerate(rows)
    ]


def _length(places: slice) -> int:
    return int(places.stop - places.start)


class MicroBatches(keras.utils.PyDataset):
    """The batches of one epoch, part by part. Batches are prepared and mixed as a whole, then split."""

    def __init__(self, batches: EpochBatches, cut: Accumulation) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._batches = batches
        self._parts = cut.parts

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, number: int) -> Batch:
        """Part `number` of the epoch, as views of its batch's arrays. Raises IndexError past the end."""
        part = self._parts[number]
        x, y = self._batches[part.batch]
        return x[part.rows], y[part.rows]


def memory_notes(config: TrainConfig, stage: int, cut: Accumulation | None, has_random_layers: bool) -> tuple[str, ...]:
    """Remarks about epochs whose batches were split; empty if they were not."""
    if cut is None:
        return ()
    differing = {
        "BatchNorm in the head": config.head.has_batch_norm,
        "BatchNorm in the backbone": config.trains_statistics(stage),
        "dropout": has_random_layers,
    }
    reasons = [reason for reason, holds in differing.items() if holds]
    equal = f"; {' and '.join(reasons)}: equal to whole batches in expectation only" if reasons else ""
    return (
        f"to save memory, batches of {config.stage_batch_size(stage)} were split into parts of at most"
        f" {cut.micro_batch}{equal}",
    )
