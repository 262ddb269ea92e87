"""Where trainings run side by side on this machine. Pure."""

from dataclasses import dataclass

_MOST_THREADS = 4
"""More speed up small-batch training little, so that two trainings at once do better; as in a search on CPUs."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Places for one training each, all alike but for their GPU."""

    threads: int
    """CPU threads of each."""
    gpus: tuple[int | None, ...]
    """For each place, the number of its own among the visible GPUs; None: it has none."""

    @property
    def gpu_share(self) -> float | None:
        """Of one GPU's memory, that each place has; None without GPUs."""
        return None if None in self.gpus else 1.0


def slots_for(trainings: int, *, cores: int, gpus: int, cpus_per_trial: int | None) -> Slots:
    """Shares this machine out among so many trainings.

    With GPUs, each training has one to itself, and as many run at once as there are GPUs. On CPUs, `cpus_per_trial`
    decides how many do, by default four. Cores that would be left over are shared out too, so that a single training
    has all of them.
    """
    least = min(cpus_per_trial or _MOST_THREADS, cores)
    places = min(trainings, gpus or cores // least)
    return Slots(max(1, cores // places), tuple(range(places)) if gpus else (None,) * places)
