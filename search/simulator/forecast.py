"""What a search of a given size would come to: the same search simulated with many seeds, and its mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from search.policy.policy import SearchPolicy
from search.policy.rungs import Ladder
from search.simulator.blackboxes import Blackbox
from search.simulator.simulate import simulate
from search.simulator.simulation import Simulation

_UNLIMITED = 1_000_000
"""Trials of a search that only its budget ends."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Means over seeds."""

    holdout_accuracy: float | None
    """Of the winner, on photos that took part in no choice; None where no search of them found one."""
    standard_error: float | None
    """Of that mean, over the seeds of the sampler; None for a single one."""
    started: float
    """Trials."""
    finished: float
    """Trials that were trained to their end."""
    cost_s: float
    """Seconds of all workers' training together; what ran when the budget was used up is trained to the end of its
    segment, which several stages may make up."""
    last_improvement_s: float | None
    """Cost at which the search chose its winner; None where it found none."""
    ran_out: bool
    """True where a search took every row that there is: with more of them it would have found more."""


def forecast(
    blackbox: Blackbox, ladder: Ladder, *, sampler: str, workers: int, budget_s: float, seeds: Sequence[int]
) -> Forecast:
    """Searches without finals, as many trials as the budget allows. Raises ValueError without a seed, or without an end
    to the search: a blackbox of any size and an infinite budget."""
    if not seeds:
        raise ValueError("seeds: expected at least one")
    if blackbox.size is None and math.isinf(budget_s):
        raise ValueError("budget_s: expected a finite number, for this blackbox answers any number of trials")
    found = [
        simulate(
            SearchPolicy(blackbox.space, blackbox.baseline, ladder, sampler, seed),
            blackbox,
            workers=workers,
            max_trials=_UNLIMITED if blackbox.size is None else blackbox.size,
            seed=seed,
            budget_s=budget_s,
        )
        for seed in seeds
    ]
    return summed_up(found, size=blackbox.size)


def summed_up(found: Sequence[Simulation], *, size: int | None) -> Forecast:
    """The means of some searches; `size`: rows of their blackbox. Pure."""
    held_out = [one.winner.holdout_accuracy for one in found if one.winner]
    improved = [one.last_improvement.cost_s for one in found if one.last_improvement]
    return Forecast(
        holdout_accuracy=fmean(held_out) if held_out else None,
        standard_error=stdev(held_out) / math.sqrt(len(held_out)) if len(held_out) > 1 else None,
        started=fmean(len(one.records) for one in found),
        finished=fmean(one.finished for one in found),
        cost_s=fmean(one.cost_s for one in found),
        last_improvement_s=fmean(improved) if improved else None,
        ran_out=any(len(one.records) == size for one in found),
    )
