"""Which micro-batch fits in memory, learned from the trials that ran out of it. Pure.

A stage that ran out of memory is tried again with half as many photos at once, until it fits or the smallest
micro-batch fails. No trial repeats a size that failed on a device, neither in the same stage nor in one that can only
need more. The smallest micro-batch is tried twice, since another process may have held the memory for a moment.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from carcls.config import TrainConfig
from carcls.frames import named_area
from carcls.training.steps.min_micro_batch import min_micro_batch

SMALLEST_BATCH_TRIES = 2
"""After this many consecutive failures the smallest micro-batch counts as never fitting.

One failure proves little: the kernel's OOM killer picks among all processes, and another process may have filled the
GPU. If the configuration is at fault, the second try costs one more start of a process.
"""


@dataclass(frozen=True, slots=True)
class OomKey:
    """What the memory that a stage needs per photo depends on."""

    device: str
    """Kind and memory of the device, as `search.worker.machine_memory` names them."""
    backbone: str
    alpha: float
    precision: str
    image_size: int | str
    """Side in px, or `384x512` (height x width)."""
    unfreeze: float
    """Share of the backbone's blocks that train. Blocks below them keep no activations for the gradient."""
    trains_statistics: bool = False
    """Whether BatchNorm of the backbone trains, which keeps more activations than a folded one. Older studies do not
    store it."""

    @classmethod
    def of(cls, config: TrainConfig, stage: int, device: str) -> Self:
        """The key of one stage of a configuration on a device."""
        return cls(
            device=device,
            backbone=config.backbone,
            alpha=config.alpha,
            precision=config.precision,
            image_size=config.stage_image_size(stage),
            unfreeze=config.stages[stage].unfreeze,
            trains_statistics=config.trains_statistics(stage),
        )

    @property
    def _family(self) -> tuple[str, str, float, str]:
        return (self.device, self.backbone, self.alpha, self.precision)

    def needs_as_much_as(self, other: "OomKey") -> bool:
        """True if this stage needs at least as much memory per photo as `other`."""
        return (
            self._family == other._family
            and named_area(self.image_size) >= named_area(other.image_size)
            and self.unfreeze >= other.unfreeze
            and self.trains_statistics >= other.trains_statistics
        )


@dataclass(frozen=True, slots=True)
class OomRecord:
    """A micro-batch that did not fit."""

    key: OomKey
    photos: int
    """Size of the micro-batch; for a frozen backbone, of a batch of features if that is smaller."""
    tries: int = 1
    """Consecutive tries that failed. Each one started knowing of those before it."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        return {"place": asdict(self.key), "photos": self.photos, "tries": self.tries}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`. `tries` defaults to 1, since older studies do not store it. Raises TypeError and
        KeyError for anything else."""
        return cls(OomKey(**values["place"]), values["photos"], values.get("tries", 1))


def next_record(known: Iterable[OomRecord], key: OomKey, photos: int) -> OomRecord:
    """The record of an attempt that ran out of memory and had started with the records in `known`.

    Failures of other trials in the meantime do not count: one moment in which another process holds the memory fails
    all running trials, and is one try.
    """
    now = OomRecord(key, photos)
    before = max((record.tries for record in known if _implies(record, now)), default=0)
    return replace(now, tries=before + 1)


def merged(records: Sequence[OomRecord], new: OomRecord) -> tuple[OomRecord, ...]:
    """The records with one more, without those that have become redundant."""
    if any(_implies(old, new) for old in records):
        return tuple(records)
    return (*(old for old in records if not _implies(new, old)), new)


def _implies(one: OomRecord, other: OomRecord) -> bool:
    """True if `one` makes `other` redundant: at most as many photos, a key that needs at most as much memory, and at
    least as many tries."""
    return other.key.needs_as_much_as(one.key) and one.photos <= other.photos and one.tries >= other.tries


def smallest_micro_batch(config: TrainConfig) -> int:
    """The smallest micro-batch that can train all stages of a configuration."""
    return max(min_micro_batch(config, stage) for stage in range(len(config.stages)))


def micro_batch(records: Iterable[OomRecord], config: TrainConfig, stage: int, device: str) -> int | None:
    """The micro-batch with which to try a stage on a device, or None for whole batches.

    Half of the smallest one that failed there, or in a stage that needs no more memory, but at least
    `smallest_micro_batch`. `never_fits` says whether that one has failed too often.
    """
    least = _least(records, OomKey.of(config, stage, device))
    if least is None:
        return None
    fitting = max(least.photos // 2, smallest_micro_batch(config))
    return fitting if fitting < config.stage_batch_size(stage) else None


def micro_batches(records: Sequence[OomRecord], config: TrainConfig, device: str) -> tuple[int | None, ...]:
    """`micro_batch` of each stage."""
    return tuple(micro_batch(records, config, stage, device) for stage in range(len(config.stages)))


def never_fits(records: Iterable[OomRecord], config: TrainConfig, stage: int, device: str) -> OomRecord | None:
    """The record that proves that a stage cannot fit on a device with any micro-batch, or None.

    It says that the smallest micro-batch failed `SMALLEST_BATCH_TRIES` times, there or in a stage that needs no more
    memory.
    """
    key = OomKey.of(config, stage, device)
    least = _least((record for record in records if record.tries >= SMALLEST_BATCH_TRIES), key)
    if least is None or least.photos > min(smallest_micro_batch(config), config.stage_batch_size(stage)):
        return None
    return replace(least, key=key)


def _least(records: Iterable[OomRecord], key: OomKey) -> OomRecord | None:
    """The record of the smallest micro-batch that failed there, or in a stage that needs no more memory; or None."""
    there = (record for record in records if key.needs_as_much_as(record.key))
    return min(there, key=lambda record: record.photos, default=None)


def worth_retrying(config: TrainConfig, refused: OomRecord) -> bool:
    """True if another try may fit after this one ran out of memory; otherwise the configuration is infeasible.

    The next try has half the photos, or the smallest micro-batch again until `SMALLEST_BATCH_TRIES` are used up.
    """
    largest_batch = max(config.stage_batch_size(stage) for stage in range(len(config.stages)))
    is_smallest = min(refused.photos, largest_batch) <= smallest_micro_batch(config)
    return not is_smallest or refused.tries < SMALLEST_BATCH_TRIES
