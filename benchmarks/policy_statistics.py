"""Figures of repeated searches, as pure functions of arrays: (seeds,) at one cost, or (seeds, costs) curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

TWO_STANDARD_ERRORS = float(stats.norm.sf(2.0))
"""Chance that a normal figure lies more than two standard errors to one side of what it estimates: 0.0228."""


def standard_error(values: Floats) -> float:
    """Of the mean of (seeds,) values; NaN for fewer than two."""
    return float(np.std(values, ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan


def cost_to_reach(mean: Floats, costs: Floats, goal: float, *, by: float) -> float | None:
    """The smallest cost from which a mean curve is at the goal or above it up to cost `by`; None if never.

    A curve that is below the goal at `by` is looked at beyond, up to the first cost at which it is reached. `mean` and
    `costs`: (costs,), costs ascending. A winner is chosen by validation, so that its mean holdout accuracy may fall
    again: what was reached by luck of one moment does not count.
    """
    reached = mean >= goal - 1e-12
    until = int(np.searchsorted(costs, by, side="right"))
    missed = np.flatnonzero(~reached[:until])
    first = int(missed[-1]) + 1 if missed.size else 0
    if first == until:
        beyond = np.flatnonzero(reached[until:])
        if not beyond.size:
            return None
        first = until + int(beyond[0])
    return float(costs[first]) if first < costs.size else None


@dataclass(frozen=True, slots=True)
class Reach:
    """What it costs us to be as good as a peer at its budget, in the unit of the costs."""

    ours: float
    """The largest cost that was played, where it is not enough."""
    is_enough: bool
    peer: float
    """The cost at which the peer itself had got there for good; at most the budget."""
    budget: float
    standard_error: float
    """Of ours / budget, by resampling seeds; a lower bound where some resamples never got there."""

    @property
    def of_budget(self) -> float:
        """Our share of the peer's budget."""
        return self.ours / self.budget

    @property
    def of_peer(self) -> float:
        """Our share of what the peer itself needed."""
        return self.ours / self.peer


def reach(ours: Floats, peer: Floats, costs: Floats, *, budget: float, seed: int = 0, resamples: int = 500) -> Reach:
    """From (seeds, costs) curves; the goal is the peer's mean at the budget. Seeds are resampled in pairs."""

    def ours_to_reach(chosen: NDArray[np.intp]) -> float | None:
        goal = _at(peer[chosen].mean(axis=0), costs, budget)
        return cost_to_reach(ours[chosen].mean(axis=0), costs, goal, by=budget)

    everyone = np.arange(len(ours))
    rng = np.random.default_rng(seed)
    repeated = [ours_to_reach(rng.choice(everyone, everyone.size)) or float(costs[-1]) for _ in range(resamples)]
    cost = ours_to_reach(everyone)
    peer_mean = peer.mean(axis=0)
    return Reach(
        ours=float(costs[-1]) if cost is None else cost,
        is_enough=cost is not None,
        peer=cost_to_reach(peer_mean, costs, _at(peer_mean, costs, budget), by=budget) or budget,
        budget=budget,
        standard_error=float(np.std(repeated, ddof=1)) / budget,
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Us against the best peer in one place, paired by seed. Differences are ours less the peer's."""

    difference: float
    standard_error: float
    p_worse: float
    """Chance of so bad a difference, or a worse one, if we were worse by just what is allowed."""
    p_not_shown: float
    """Chance of so good a difference, or a better one, if we were worse by just what is allowed."""


def compare(ours: Floats, peer: Floats, *, allowed: float) -> Comparison:
    """(seeds,) each. One-sided paired t tests of the difference against -`allowed`."""
    differences = ours - peer
    error = standard_error(differences)
    mean = float(differences.mean())
    margin = mean + allowed
    if error == 0.0 or math.isnan(error):
        p_worse, p_not_shown = (0.0, 1.0) if margin < 0 else (1.0, 0.0)
    else:
        p_worse = float(stats.t.cdf(margin / error, differences.size - 1))
        p_not_shown = 1.0 - p_worse
    return Comparison(mean, error, p_worse, p_not_shown)


def holm(p_values: Sequence[float], *, level: float = TWO_STANDARD_ERRORS) -> list[bool]:
    """Which hypotheses fall, so that the chance of felling any true one stays within the level (Holm 1979, 'A Simple
    Sequentially Rejective Multiple Test Procedure')."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    fallen = [False] * len(p_values)
    for step, at in enumerate(order):
        if p_values[at] > level / (len(p_values) - step):
            break
        fallen[at] = True
    return fallen


def _at(curve: Floats, costs: Floats, cost: float) -> float:
    """The last value up to a cost."""
    return float(curve[int(np.searchsorted(costs, cost, side="right")) - 1])
