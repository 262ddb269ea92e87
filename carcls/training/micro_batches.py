"""Batches larger than the device has room for: shown to the model in parts, which count as one batch together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig
from carcls.input.epoch_plan import Batch, batch_count, batch_places
from carcls.input.prefetch import EpochBatches
from carcls.training.smallest_part import smallest_part

MicroBatch = int | Sequence[int | None] | None
"""Photos that may go through the model at once, at least 1; a sequence: for each stage; None: whole batches. Where
`smallest_part` needs more, so many go."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of one batch that goes through the model at once."""

    batch: int
    """Number of its batch, counted from 0."""
    rows: slice
    """Which photos of that batch."""
    share: float
    """Its photos over its batch's: how much its mean gradient counts."""
    is_first: bool
    is_last: bool
    """True for the part with which the batch is complete, and the optimizer takes its step."""


@dataclass(frozen=True, slots=True)
class Accumulation:
    """How the epochs of a stage are cut where whole batches have no room. All epochs are cut alike."""

    micro_batch: int
    """Photos at once, at most."""
    parts: tuple[Part, ...]
    """Of one epoch, in order."""

    def by_step(self, by_batch: Mapping[int, float]) -> dict[int, float]:
        """What is known of batches by their number, by the number of each of their parts."""
        return {step: by_batch[part.batch] for step, part in enumerate(self.parts) if part.batch in by_batch}

    def table(self, field: str) -> NDArray[Any]:
        """One field of all parts, (parts,)."""
        return np.array([getattr(part, field) for part in self.parts])


def accumulation(micro_batch: MicroBatch, config: TrainConfig, stage: int, *, photos: int) -> Accumulation | None:
    """How the epochs of `photos` photos of one stage are cut; None where whole batches go through the model.

    Raises ValueError for a micro-batch below 1, and where a sequence does not have one for each stage.
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
        micro_batch = max(micro_batch, smallest_part(config, stage))
    if micro_batch is None or micro_batch >= config.batch_size:
        return None
    return Accumulation(micro_batch, parts(photos, batch_size=config.batch_size, micro_batch=micro_batch))


def parts(photos: int, *, batch_size: int, micro_batch: int) -> tuple[Part, ...]:
    """All parts of an epoch: each batch in the fewest of at most `micro_batch` photos, shared out evenly. Pure."""
    return tuple(
        part
        for number in range(batch_count(photos, batch_size))
        for part in _parts_of(number, _length(batch_places(number, photos=photos, batch_size=batch_size)), micro_batch)
    )


def _parts_of(batch: int, photos: int, micro_batch: int) -> list[Part]:
    count = batch_count(photos, micro_batch)
    rows = [batch_places(number, photos=photos, batch_size=micro_batch) for number in range(count)]
    return [
        Part(batch, places, _length(places) / photos, is_first=number == 0, is_last=number == count - 1)
        for number, places in enumerate(rows)
    ]


def _length(places: slice) -> int:
    return int(places.stop - places.start)


class MicroBatches(keras.utils.PyDataset):
    """The batches of one epoch, part by part: each batch is made whole, with its photos mixed as ever, and then cut."""

    def __init__(self, batches: EpochBatches, cut: Accumulation) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._batches = batches
        self._parts = cut.parts

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, number: int) -> Batch:
        """Part `number` of the epoch; views of its batch's arrays. Raises IndexError past the end."""
        part = self._parts[number]
        x, y = self._batches[part.batch]
        return x[part.rows], y[part.rows]


def memory_notes(config: TrainConfig, stage: int, cut: Accumulation | None, has_random_layers: bool) -> tuple[str, ...]:
    """What a reader should know of epochs whose batches were cut; nothing where they were not."""
    if cut is None:
        return ()
    unfrozen_from_random = config.weights == "none" and config.stages[stage].unfreeze > 0.0
    differing = {
        "BatchNorm in the head": config.head.batch_norm,
        "BatchNorm in the backbone": unfrozen_from_random,
        "dropout": has_random_layers,
    }
    reasons = [reason for reason, holds in differing.items() if holds]
    equal = f"; {' and '.join(reasons)}: equal to whole batches in expectation only" if reasons else ""
    return (f"for want of memory batches of {config.batch_size} went in parts of at most {cut.micro_batch}{equal}",)
