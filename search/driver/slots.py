"""How concurrent trainings share this machine. Pure."""

from dataclasses import dataclass

_MOST_THREADS = 4
"""More threads hardly speed up small-batch training, so two concurrent trainings are faster; as in a search on CPUs."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Slots for one training each. They differ only in their GPU."""

    threads: int
    """CPU threads of each slot."""
    gpus: tuple[int | None, ...]
    """For each slot, the number of its GPU among the visible ones, or None."""

    @property
    def gpu_share(self) -> float | None:
        """Share of one GPU's memory that each slot has; None without GPUs."""
        return None if None in self.gpus else 1.0


def slots_for(trainings: int, *, cores: int, gpus: int, cpus_per_trial: int | None) -> Slots:
    """Divide this machine among so many trainings.

    With GPUs, each slot has its own GPU. On CPUs, each slot has at least `cpus_per_trial` cores, by default four. The
    remaining cores are divided too, so a single training gets all of them.
    """
    least = min(cpus_per_trial or _MOST_THREADS, cores)
    places = min(trainings, gpus or cores // least)
    return Slots(max(1, cores // places), tuple(range(places)) if gpus else (None,) * places)
