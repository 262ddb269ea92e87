"""How concurrent trainings share this machine. Pure."""

from dataclasses import dataclass
from typing import Literal

_MOST_THREADS = 4
"""More threads hardly speed up small-batch training, so two concurrent trainings are faster; as in a search on CPUs."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Slots for one training each. They differ only in their GPU."""

    threads: int
    """CPU threads of each slot."""
    gpus: tuple[int | None, ...]
    """For each slot, the number of its first GPU among the visible ones, or None."""
    gpus_each: int = 1
    """GPUs of each slot."""

    @property
    def gpu_share(self) -> float | None:
        """Number of whole GPUs that each slot has; None without GPUs."""
        return None if None in self.gpus else float(self.gpus_each)


def slots_for(
    trainings: int, *, cores: int, gpus: int, cpus_per_trial: int | None, gpus_each: int | Literal["all"] = 1
) -> Slots:
    """Divide this machine among so many trainings.

    With GPUs, each slot has `gpus_each` of its own, or as many as there are. On CPUs, each slot has at least
    `cpus_per_trial` cores, by default four. The remaining cores are divided too, so a single training gets all of them.
    """
    least = min(cpus_per_trial or _MOST_THREADS, cores)
    each = gpus if gpus_each == "all" else min(gpus_each, gpus)
    places = min(trainings, gpus // each if gpus else cores // least)
    numbers = tuple(number * each for number in range(places)) if gpus else (None,) * places
    return Slots(max(1, cores // places), numbers, gpus_each=max(each, 1))
