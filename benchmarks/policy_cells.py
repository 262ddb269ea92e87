"""What was played, cell by cell: an arena, a number of workers and a budget, and every method's figures there. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers.stock_policy import StockSettings
from benchmarks.policy_runs import RULES, STEP, Method
from benchmarks.policy_statistics import Comparison, Floats, Reach, compare, holm, reach, standard_error

DEFAULT_GRACE = "stock, default grace"
BEST_GRACE = "stock, best grace"
TO_THE_END = "TPE to the end"
RANDOM = "random to the end"
RANDOM_ASHA = "random, stopping"

ALLOWED = 0.005
"""By how much we may be worse than the best peer: half a point."""

Curves = Mapping[tuple[str, int, Method], Floats]
"""(arena, workers, method) -> (seeds, rules, costs), as `policy_runs.play` gives them."""


def peers(epochs: int, *, baseline_first: bool = False) -> list[StockSettings]:
    """Every peer that is played; grace periods from one epoch to the last but one."""
    graces = [StockSettings(grace_epochs=grace, baseline_first=baseline_first) for grace in range(1, epochs)]
    return [
        *graces,
        StockSettings(stopping=False, baseline_first=baseline_first),
        StockSettings(sampler="random", stopping=False, baseline_first=baseline_first),
        StockSettings(sampler="random", baseline_first=baseline_first),
    ]


@dataclass(frozen=True)
class Cell:
    """One place of the comparison."""

    arena: str
    workers: int
    budget: float
    """Full trainings."""
    costs: Floats
    curves: Mapping[str, Floats]
    """Method by name -> (seeds, costs); ours first."""
    candidates: tuple[str, ...]
    best_grace: str
    """Which grace period, in epochs, and which rule for the winner are best here; empty without peers."""

    def at_budget(self, method: str) -> Floats:
        """(seeds,) holdout accuracies."""
        return self.curves[method][:, round(self.budget / STEP) - 1]

    def mean(self, method: str) -> float:
        return float(self.at_budget(method).mean())

    def error(self, method: str) -> float:
        return standard_error(self.at_budget(method))

    @property
    def best_peer(self) -> str:
        """By mean holdout accuracy at the budget. Raises ValueError without peers."""
        return max((name for name in self.curves if name not in self.candidates), key=self.mean)

    def against_best_peer(self) -> Comparison:
        """The first of ours, paired by seed."""
        return compare(self.at_budget(self.candidates[0]), self.at_budget(self.best_peer), allowed=ALLOWED)

    def reach(self) -> Reach:
        """What the first of ours needs to be as good as the stock stack with its best grace."""
        return reach(self.curves[self.candidates[0]], self.curves[BEST_GRACE], self.costs, budget=self.budget)


def cells(played: Curves, candidates: Sequence[str], *, costs: Floats, budgets: Sequence[float]) -> Iterator[Cell]:
    """In the order of what was played."""
    places = dict.fromkeys((arena, workers) for arena, workers, _ in played)
    for arena, workers in places:
        here = {method: curves for (at, w, method), curves in played.items() if (at, w) == (arena, workers)}
        for budget in budgets:
            yield _cell(arena, workers, budget=budget, here=here, candidates=candidates, costs=costs)


def _cell(
    arena: str, workers: int, *, budget: float, here: Mapping[Method, Floats], candidates: Sequence[str], costs: Floats
) -> Cell:
    curves = {name: here[name][:, 0] for name in candidates}
    others = {_peer_name(method): values[:, 0] for method, values in here.items() if isinstance(method, StockSettings)}
    graces = {
        (method.grace_epochs, rule): values[:, at]
        for method, values in here.items()
        if isinstance(method, StockSettings) and method.stopping and method.sampler == "tpe"
        for at, rule in enumerate(RULES)
    }
    best = ""
    if graces:
        index = round(budget / STEP) - 1
        grace, rule = max(graces, key=lambda which: graces[which][:, index].mean())
        others[BEST_GRACE] = graces[grace, rule]
        best = f"{grace} {rule}"
    shown = (DEFAULT_GRACE, BEST_GRACE, TO_THE_END, RANDOM, RANDOM_ASHA)
    curves |= {name: others[name] for name in shown if name in others}
    return Cell(arena, workers, budget, costs, curves, tuple(candidates), best)


def _peer_name(method: StockSettings) -> str:
    if method.stopping and method.grace_epochs > 1:
        return f"stock, grace {method.grace_epochs}"
    names = {
        ("tpe", True): DEFAULT_GRACE,
        ("tpe", False): TO_THE_END,
        ("random", True): RANDOM_ASHA,
        ("random", False): RANDOM,
    }
    return names[method.sampler, method.stopping]


def worse(places: Sequence[Cell]) -> list[bool]:
    """Where we are worse than the best peer by more than what is allowed, two standard errors for all places together.

    By Holm's correction for the number of places.
    """
    return holm([place.against_best_peer().p_worse for place in places])


def shown_not_worse(places: Sequence[Cell]) -> list[bool]:
    """Where it is shown, by the same measure, that we are not."""
    return holm([place.against_best_peer().p_not_shown for place in places])
