"""What goes wrong in a simulated search, and when: a pure function of (seed, trial, attempt)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from search.experiment.domains import Value


@dataclass(frozen=True, slots=True)
class FaultEvent:
    """The end of a segment before its time."""

    after_s: float
    """Virtual seconds from the segment's start; nothing happens where it ends sooner."""
    away_s: float
    """How long its worker is gone; 0 for a process that died alone."""


def _enough_memory(params: Mapping[str, Value], stage: int) -> bool:
    del params, stage
    return False


@dataclass(frozen=True, slots=True)
class Faults:
    """Rates while a worker trains. The default is a world without faults."""

    deaths_per_hour: float = 0.0
    """Of one worker: the trial waits again and goes on from its last epoch; the worker is free at once."""
    preemptions_per_hour: float = 0.0
    """Of one worker: as a death, and the worker is gone for a while."""
    preempted_s: float = 600.0
    """How long a preempted worker is gone."""
    out_of_memory: Callable[[Mapping[str, Value], int], bool] = _enough_memory
    """(params, stage) -> True where the first epoch of that stage does not fit: the configuration is infeasible."""

    def event(self, *, seed: int, number: int, attempt: int) -> FaultEvent | None:
        """What would end this segment; exponential waiting times, so that a long one is struck more often."""
        if not self.deaths_per_hour and not self.preemptions_per_hour:
            return None
        rng = np.random.default_rng((seed, number, attempt))
        death_s, preemption_s = (3600 * rng.exponential(size=2)).tolist()
        events = []
        if self.deaths_per_hour > 0:
            events.append(FaultEvent(death_s / self.deaths_per_hour, 0.0))
        if self.preemptions_per_hour > 0:
            events.append(FaultEvent(preemption_s / self.preemptions_per_hour, self.preempted_s))
        return min(events, key=lambda event: event.after_s, default=None)
