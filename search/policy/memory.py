"""How many photos have room at once: what was refused, by whom, and what that says of other trainings. Pure.

A stage that ran out of memory is tried again with half the photos at once, until it fits or one photo does not. What a
device refused once, no trial tries on it again: neither the same stage nor one that can only need more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from carcls.config import TrainConfig
from carcls.training.smallest_part import smallest_part


@dataclass(frozen=True, slots=True)
class Place:
    """What the memory that a stage takes for each photo depends on."""

    device: str
    """Its kind and its memory, as `search.cluster.device` names them."""
    backbone: str
    alpha: float
    precision: str
    image_size: int
    """Side in px."""
    unfreeze: float
    """Share of the backbone's blocks that train: below them nothing is kept for the gradient."""

    @classmethod
    def of(cls, config: TrainConfig, stage: int, device: str) -> Self:
        """Where one stage of a configuration trains."""
        return cls(
            device=device,
            backbone=config.backbone,
            alpha=config.alpha,
            precision=config.precision,
            image_size=config.stage_image_size(stage),
            unfreeze=config.stages[stage].unfreeze,
        )

    @property
    def _family(self) -> tuple[str, str, float, str]:
        return (self.device, self.backbone, self.alpha, self.precision)

    def needs_as_much_as(self, other: "Place") -> bool:
        """True where this one can only need more for a photo than `other`, or exactly as much."""
        return self._family == other._family and self.image_size >= other.image_size and self.unfreeze >= other.unfreeze


@dataclass(frozen=True, slots=True)
class Refusal:
    """So many photos at once had no room there."""

    place: Place
    photos: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`. Raises TypeError and KeyError for anything else."""
        return cls(Place(**values["place"]), values["photos"])


def remember(refusals: Sequence[Refusal], new: Refusal) -> tuple[Refusal, ...]:
    """With one more, without those that say nothing beside it."""
    if any(_implies(old, new) for old in refusals):
        return tuple(refusals)
    return (*(old for old in refusals if not _implies(new, old)), new)


def _implies(one: Refusal, other: Refusal) -> bool:
    """True where whoever knows the first knows the second: fewer photos, in a place that needs no more."""
    return other.place.needs_as_much_as(one.place) and one.photos <= other.photos


def smallest_micro_batch(config: TrainConfig) -> int:
    """The fewest photos at once that can train all of its stages."""
    return max(smallest_part(config, stage) for stage in range(len(config.stages)))


def micro_batch(refusals: Iterable[Refusal], config: TrainConfig, stage: int, device: str) -> int | None:
    """Photos at once with which a stage is tried on a device; None: whole batches, for all that is known.

    Half of the least that was refused there or where no more is needed, but never below `smallest_micro_batch`. Whether
    that was refused too, `never_fits` tells.
    """
    refused = _least_refused(refusals, Place.of(config, stage, device))
    if refused is None:
        return None
    fitting = max(refused // 2, smallest_micro_batch(config))
    return fitting if fitting < config.batch_size else None


def micro_batches(refusals: Sequence[Refusal], config: TrainConfig, device: str) -> tuple[int | None, ...]:
    """`micro_batch` of each stage."""
    return tuple(micro_batch(refusals, config, stage, device) for stage in range(len(config.stages)))


def never_fits(refusals: Iterable[Refusal], config: TrainConfig, stage: int, device: str) -> Refusal | None:
    """What says that a stage has no room on a device, however few go through the model at once; None: it may have."""
    place = Place.of(config, stage, device)
    refused = _least_refused(refusals, place)
    if refused is None or refused > min(smallest_micro_batch(config), config.batch_size):
        return None
    return Refusal(place, refused)


def _least_refused(refusals: Iterable[Refusal], place: Place) -> int | None:
    """The fewest photos that had no room there, or where no more is needed; None where nothing was refused."""
    return min((known.photos for known in refusals if place.needs_as_much_as(known.place)), default=None)


def has_next(config: TrainConfig, refused: int) -> bool:
    """After `refused` photos at once had no room: whether fewer are worth a try, or the configuration is infeasible."""
    return min(refused, config.batch_size) > smallest_micro_batch(config)
