"""Forecasts the result of a search: the mean over simulations with many seeds."""

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
"""Trial limit of a search that only its budget ends."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Means over seeds."""

    holdout_accuracy: float | None
    """Accuracy of the winner on photos that no choice used; None if no search found a winner."""
    standard_error: float | None
    """Standard error of that mean over the sampler's seeds; None for fewer than two."""
    started: float
    """Trials started."""
    finished: float
    """Trials trained to their end."""
    cost_s: float
    """Seconds of training over all workers. Trials running when the budget is used up continue to the end of their
    segment, which may take several stages."""
    last_improvement_s: float | None
    """Cost at which the search chose its winner; None if no search found one."""
    ran_out: bool
    """True if a search used every recorded row, so that more rows might have given a better result."""


def forecast(
    blackbox: Blackbox, ladder: Ladder, *, sampler: str, workers: int, budget_s: float, seeds: Sequence[int]
) -> Forecast:
    """Simulate searches without finals, with as many trials as the budget allows.

    Raises ValueError without seeds, and for an infinite budget if the blackbox has unlimited trials.
    """
    if not seeds:
        raise ValueError("seeds: expected at least one")
    if blackbox.size is None and math.isinf(budget_s):
        raise ValueError("budget_s: expected a finite number, since this blackbox answers any number of trials")
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
    return summarize(found, size=blackbox.size)


def summarize(found: Sequence[Simulation], *, size: int | None) -> Forecast:
    """The means of some searches. size: rows of their blackbox, or None if unlimited. Pure."""
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
