"""How many photos have room at once: what was refused, by whom, and what that says of other trainings. Pure.

A stage that ran out of memory is tried again with half the photos at once, until it fits or the fewest do not. What a
device refused once, no trial tries on it again: neither the same stage nor one that can only need more. The fewest
alone are tried twice: after them there is nothing left, and another process may have had the memory for a moment.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from carcls.config import TrainConfig
from carcls.training.min_micro_batch import min_micro_batch

TRIES_OF_THE_FEWEST = 2
"""Refused so often, one try after the other, the fewest photos never fit there.

Whoever refused: the system's killer looks for its victim among all processes, and a GPU that TensorFlow finds full may
be so by another's doing likewise. Where the configuration itself is at fault, that costs one more start of a process.
"""


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
    tries: int = 1
    """How many, one after the other, found it so: each was begun in knowledge of those before it."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`; without `tries`, which older studies do not have, it was one. Raises TypeError and
        KeyError for anything else."""
        return cls(Place(**values["place"]), values["photos"], values.get("tries", 1))


def refused_again(known: Iterable[Refusal], place: Place, photos: int) -> Refusal:
    """What a try tells that found no room for so many photos, and was begun in knowledge of `known`.

    What others met meanwhile is not counted: a moment in which another process has the memory refuses all trials that
    run then, and is one try.
    """
    now = Refusal(place, photos)
    before = max((refusal.tries for refusal in known if _implies(refusal, now)), default=0)
    return replace(now, tries=before + 1)


def remember(refusals: Sequence[Refusal], new: Refusal) -> tuple[Refusal, ...]:
    """With one more, without those that say nothing beside it."""
    if any(_implies(old, new) for old in refusals):
        return tuple(refusals)
    return (*(old for old in refusals if not _implies(new, old)), new)


def _implies(one: Refusal, other: Refusal) -> bool:
    """True where whoever knows the first knows the second: no more photos, in a place that needs no more, in no fewer
    tries."""
    return other.place.needs_as_much_as(one.place) and one.photos <= other.photos and one.tries >= other.tries


def smallest_micro_batch(config: TrainConfig) -> int:
    """The fewest photos at once that can train all of its stages."""
    return max(min_micro_batch(config, stage) for stage in range(len(config.stages)))


def micro_batch(refusals: Iterable[Refusal], config: TrainConfig, stage: int, device: str) -> int | None:
    """Photos at once with which a stage is tried on a device; None: whole batches, for all that is known.

    Half of the least that was refused there or where no more is needed, but never below `smallest_micro_batch`. Whether
    that was refused too often, `never_fits` tells.
    """
    least = _least(refusals, Place.of(config, stage, device))
    if least is None:
        return None
    fitting = max(least.photos // 2, smallest_micro_batch(config))
    return fitting if fitting < config.batch_size else None


def micro_batches(refusals: Sequence[Refusal], config: TrainConfig, device: str) -> tuple[int | None, ...]:
    """`micro_batch` of each stage."""
    return tuple(micro_batch(refusals, config, stage, device) for stage in range(len(config.stages)))


def never_fits(refusals: Iterable[Refusal], config: TrainConfig, stage: int, device: str) -> Refusal | None:
    """What says that a stage has no room on a device, however few go through the model at once; None: it may have.

    That is the case once the fewest that train it were refused in `TRIES_OF_THE_FEWEST` tries, there or where no more
    is needed.
    """
    place = Place.of(config, stage, device)
    least = _least((refusal for refusal in refusals if refusal.tries >= TRIES_OF_THE_FEWEST), place)
    if least is None or least.photos > min(smallest_micro_batch(config), config.batch_size):
        return None
    return replace(least, place=place)


def _least(refusals: Iterable[Refusal], place: Place) -> Refusal | None:
    """Of the fewest photos that had no room there, or where no more is needed; None where nothing was refused."""
    there = (refusal for refusal in refusals if place.needs_as_much_as(refusal.place))
    return min(there, key=lambda refusal: refusal.photos, default=None)


def has_next(config: TrainConfig, refused: Refusal) -> bool:
    """After a try that had no room: whether another one is worth it, or the configuration is infeasible.

    Another one has half the photos; or as many, where fewer do not train it and `TRIES_OF_THE_FEWEST` are not over.
    """
    is_fewest = min(refused.photos, config.batch_size) <= smallest_micro_batch(config)
    return not is_fewest or refused.tries < TRIES_OF_THE_FEWEST
