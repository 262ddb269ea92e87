"""Our search policy against the stock stack's own objects, simulated: python -m benchmarks.policy, about 20 minutes.

Whole searches on a virtual clock over recorded trainings (half of the configurations: the policy was chosen on the
other half) and over three blackboxes by formula. Figures are the winner's holdout accuracy, on photos that no policy
saw, at budgets counted in full trainings; their means over seeds, with standard errors. Peers: Ray's
AsyncHyperBandScheduler and OptunaSearch with the default grace period and with the best of all, TPE and random search
without stopping, random search with stopping.

The winner is chosen by one rule for all: the best by validation among trainings that came to their end. The stock stack
with its best grace is given the better of that rule and Ray's own, the best epoch of any trial; and its grace is the
best of all by the holdout itself, in each place anew.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from benchmarks.harness import Verdict, cores, finish, judge, machine, quiet, table

quiet()

from benchmarks import policy_runs  # noqa: E402 - after `quiet`
from benchmarks.policy_candidates import CANDIDATES  # noqa: E402 - after `quiet`
from benchmarks.policy_cells import ALLOWED, Cell, Curves, cells, peers, shown_not_worse, worse  # noqa: E402 - after `quiet`
from benchmarks.policy_runs import ARENAS, HALVES, RECORDED, ArenaKey, Method, Task, arena, play_all  # noqa: E402 - after `quiet`
from carcls.config import RankBy  # noqa: E402 - after `quiet`

TARGET_SPEEDUP = 2.0
"""The stock stack's cost over ours."""
WORKERS = (1, 4, 16)
BUDGETS = (8, 16, 32)
SEEDS = 40


def main() -> None:
    arguments = _parse()
    print(f"{arguments.seeds} seeds; half of the recorded configurations: {arguments.half}; {machine()}\n")
    played: dict[tuple[str, int, Method], np.ndarray] = {}
    for name in arguments.arenas:
        played |= _play_arena(name, arguments)
    places = list(
        cells(
            played,
            arguments.policy,
            costs=policy_runs.costs(max(arguments.budgets)),
            budgets=arguments.budgets,
        )
    )
    for name in arguments.arenas:
        print(f"\n{name}: holdout accuracy in points, mean and standard error")
        print(accuracies([place for place in places if place.arena == name]))
    if arguments.no_peers:
        return
    recorded = [place for place in places if place.arena == RECORDED]
    print(f"\ncost for {arguments.policy[0]} to be as good as the stock stack with its best grace, in full trainings")
    print(costs_to_reach(recorded))
    print(f"\n{arguments.policy[0]} against the best peer of each place, in points, paired by seed")
    print(differences(places))
    finish(
        "policy",
        verdicts(places),
        policy=arguments.policy[0],
        half=arguments.half,
        seeds=arguments.seeds,
        baseline_first=arguments.baseline_first,
        worst_share_of_what_they_needed=max((round(place.reach().of_peer, 3) for place in recorded), default=None),
    )


def _play_arena(name: str, arguments: argparse.Namespace) -> Curves:
    key = ArenaKey(name, arguments.half, arguments.curves, arguments.experiment, arguments.rank_by)
    at = arena(key)
    methods: list[Method] = list(arguments.policy)
    if not arguments.no_peers:
        methods += peers(at.epochs, baseline_first=arguments.baseline_first)
    rows = "any number of" if at.blackbox.size is None else at.blackbox.size
    print(
        f"{name}: {rows} configurations, a full training of {at.epochs} epochs takes {at.full_training_s:.3g} s", end=""
    )
    plan = [(workers, method) for workers in arguments.workers for method in methods]
    tasks = [
        Task(key, method, workers, seed, max(arguments.budgets))
        for workers, method in plan
        for seed in range(arguments.seeds)
    ]
    started = time.perf_counter()
    results = np.array(list(play_all(tasks, processes=arguments.processes)))
    print(f"; {len(tasks)} searches in {time.perf_counter() - started:.0f} s", flush=True)
    by_method = results.reshape(len(plan), arguments.seeds, *results.shape[1:])
    return {(name, workers, method): by_method[place] for place, (workers, method) in enumerate(plan)}


def accuracies(places: Sequence[Cell]) -> str:
    """One row a method, one column a number of workers and a budget. Pure."""
    methods = list(places[0].curves)
    rows = [
        (method, *(f"{100 * place.mean(method):.2f} ±{100 * place.error(method):.2f}" for place in places))
        for method in methods
    ]
    if places[0].best_grace:
        rows.append(("best grace, epochs and rule", *(place.best_grace for place in places)))
    return table(("", *(f"W={place.workers} B={place.budget:g}" for place in places)), rows)


def costs_to_reach(places: Sequence[Cell]) -> str:
    """One row a number of workers and a budget. Pure."""
    rows = []
    for place in places:
        reach = place.reach()
        rows.append(
            (
                f"W={place.workers} B={place.budget:g}",
                f"{'' if reach.is_enough else '>'}{reach.ours:.3g}",
                f"{reach.of_budget:.2f} ±{reach.standard_error:.2f}",
                f"{reach.peer:.3g}",
                f"{reach.of_peer:.2f}",
            )
        )
    return table(("", "ours", "of the budget", "theirs, got there at", "of theirs"), rows)


def differences(places: Sequence[Cell]) -> str:
    """One row a place. Pure."""
    rows = []
    for place, is_worse, is_shown in zip(places, worse(places), shown_not_worse(places), strict=True):
        found = place.against_best_peer()
        rows.append(
            (
                f"{place.arena} W={place.workers} B={place.budget:g}",
                place.best_peer,
                f"{100 * found.difference:+.2f} ±{100 * found.standard_error:.2f}",
                "worse" if is_worse else "not worse" if is_shown else "open",
            )
        )
    return table(("", "best peer", "difference", f"by more than {100 * ALLOWED:g}"), rows)


def verdicts(places: Sequence[Cell]) -> list[Verdict]:
    """The costs, the worst first; then how many places are free of a difference that is not allowed. Pure."""
    costs = []
    for place in places:
        if place.arena != RECORDED:
            continue
        reach = place.reach()
        costs.append(
            judge(
                f"full trainings to the stock stack's accuracy at {place.budget:g}, {place.workers} workers",
                ours=reach.ours,
                peer=reach.budget,
                target=TARGET_SPEEDUP,
                smaller_is_better=True,
            )
        )
    bad = worse(places)
    free = len(bad) - sum(bad)
    claim = f"places where we are not worse than the best peer by {100 * ALLOWED:g} points"
    return [
        *sorted(costs, key=lambda verdict: verdict.ratio),
        Verdict(claim, free, len(bad), free / len(bad), 1.0, free == len(bad)),
    ]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy", description=__doc__)
    names = ", ".join(CANDIDATES)
    parser.add_argument(
        "--policy",
        nargs="+",
        choices=CANDIDATES,
        default=[next(iter(CANDIDATES))],
        metavar="NAME",
        help=f"ours, the first is judged: {names} (%(default)s)",
    )
    parser.add_argument("--half", choices=HALVES, default="held_out", help="of the recorded rows (%(default)s)")
    parser.add_argument(
        "--rank-by",
        choices=get_args(RankBy),
        default="accuracy",
        help="what ranks recorded trainings (%(default)s)",
    )
    parser.add_argument("--arenas", nargs="+", choices=ARENAS, default=ARENAS, help="where (all)")
    parser.add_argument("--workers", nargs="+", type=int, default=WORKERS, help="(1 4 16)")
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS, help="in full trainings (8 16 32)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="searches of each kind (%(default)s)")
    parser.add_argument("--no-peers", action="store_true", help="ours alone, to choose among them")
    parser.add_argument("--baseline-first", action="store_true", help="peers begin with the default recipe, as we do")
    parser.add_argument("--curves", type=Path, default=policy_runs.CURVES, help="recorded table (%(default)s)")
    parser.add_argument("--experiment", type=Path, default=policy_runs.EXPERIMENT, help="its space (%(default)s)")
    parser.add_argument("--processes", type=int, default=cores(), help="at once (%(default)s)")
    arguments = parser.parse_args()
    if RECORDED in arguments.arenas and not arguments.curves.exists():
        parser.error(f"no {arguments.curves}: record it with `carsearch record`, or leave {RECORDED} out of --arenas")
    return arguments


if __name__ == "__main__":
    main()
