"""Faults of a simulated search. They depend only on (seed, trial, attempt)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from search.experiment.domains import Value


@dataclass(frozen=True, slots=True)
class FaultEvent:
    """A fault that ends a segment early."""

    after_s: float
    """Virtual seconds from the segment's start. A segment that ends sooner escapes the fault."""
    away_s: float
    """Seconds that the worker is gone; 0 if only its process died."""


def _always_fits(params: Mapping[str, Value], stage: int) -> bool:
    del params, stage
    return False


@dataclass(frozen=True, slots=True)
class Faults:
    """Fault rates of a worker while it trains. There are no faults by default."""

    deaths_per_hour: float = 0.0
    """Process deaths of one worker. The trial resumes from its last epoch; the worker is free at once."""
    preemptions_per_hour: float = 0.0
    """Preemptions of one worker. Like a death, but the worker is gone for `preempted_s`."""
    preempted_s: float = 600.0
    """Seconds that a preempted worker is gone."""
    out_of_memory: Callable[[Mapping[str, Value], int], bool] = _always_fits
    """(params, stage) -> True if the stage's first epoch does not fit, which makes the configuration infeasible."""

    def event(self, *, seed: int, number: int, attempt: int) -> FaultEvent | None:
        """The first fault of a segment, or None. Waiting times are exponential, so long segments are hit more often."""
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
