"""Simulated searches of one arena, many seeds of each method, as curves of what their winners are worth."""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import optuna

from benchmarks.formulas import FORMULAS
from benchmarks.peers.stock_policy import StockSettings, simulate_stock
from benchmarks.policy_candidates import CANDIDATES
from benchmarks.policy_statistics import Floats
from carcls.config import RankBy
from search.experiment.experiment import load
from search.policy.policy import Proposal
from search.simulator.blackboxes import Blackbox, RecordedCurves
from search.simulator.curves import Curve, read_curves
from search.simulator.simulate import simulate
from search.simulator.simulation import Simulation

CURVES = Path(__file__).parent / "curves" / "cars10.jsonl.gz"
EXPERIMENT = Path(__file__).parents[1] / "experiments" / "curves10.yaml"

RECORDED = "recorded"
ARENAS = (RECORDED, *FORMULAS)
Half = Literal["chosen", "held_out"]
HALVES: tuple[Half, ...] = ("chosen", "held_out")

Method = str | StockSettings
"""The name of a candidate of ours, or a peer."""
RULES = ("full", "any")
"""Who wins. `full`: `Simulation.winner_at`, the best by validation among trainings that came to their end. `any`: what
Ray's `get_best_result(scope="all")` says, the best reported epoch of any trial."""

STEP = 0.125
"""Full trainings from one cost of a curve to the next."""
_SPLIT_SEED = 20_261_120
_MEASURED_CONFIGURATIONS = 200
_MAX_TRIALS = 5_000
"""More than any budget buys where a blackbox has no rows."""


@dataclass(frozen=True, slots=True)
class ArenaKey:
    """An arena by what makes it, so that each process can make its own."""

    name: str
    half: Half
    curves: Path
    experiment: Path
    """Whose space the curves were recorded over."""
    rank_by: RankBy = "accuracy"
    """What ranks recorded trainings; `Curve.ranked_by` says how, in tables without probabilities."""


@dataclass(frozen=True)
class Arena:
    """Where methods are compared."""

    name: str
    blackbox: Blackbox
    epochs: int
    """Of a whole training; the longest one's."""
    full_training_s: float
    """Mean of whole trainings: the unit of budgets."""


@dataclass(frozen=True, slots=True)
class Task:
    """One search."""

    arena: ArenaKey
    method: Method
    workers: int
    seed: int
    budget: float
    """Full trainings."""


@cache
def arena(key: ArenaKey) -> Arena:
    """Raises CurvesError for curves that cannot be read, KeyError for an unknown name."""
    if key.name == RECORDED:
        curves = [curve.ranked_by(key.rank_by) for curve in half_of(read_curves(key.curves), key.half)]
        return arena_of(key.name, RecordedCurves(load(key.experiment).space, curves), curves)
    blackbox = FORMULAS[key.name]
    rng = np.random.default_rng(_SPLIT_SEED)
    proposals = [Proposal(blackbox.space.sample(rng)) for _ in range(_MEASURED_CONFIGURATIONS)]
    return arena_of(key.name, blackbox, [blackbox.train(one, taken=set(), seed=0).curve for one in proposals])


def arena_of(name: str, blackbox: Blackbox, curves: Sequence[Curve]) -> Arena:
    """`curves`: whole trainings that say how long one takes; infeasible ones say nothing."""
    whole = [curve for curve in curves if not curve.infeasible]
    return Arena(
        name=name,
        blackbox=blackbox,
        epochs=max(len(curve.points) for curve in whole),
        full_training_s=float(np.mean([curve.seconds for curve in whole])),
    )


def half_of(curves: Sequence[Curve], half: Half) -> tuple[Curve, ...]:
    """One half of the configurations, always the same, in recorded order; repetitions go with their configuration.

    The default recipe is in both: every search of ours begins with it.
    """
    configurations = list(dict.fromkeys(_identity(curve) for curve in curves if not curve.is_baseline))
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(configurations))
    middle = len(configurations) // 2
    chosen = {configurations[at] for at in (order[:middle] if half == "chosen" else order[middle:])}
    return tuple(curve for curve in curves if curve.is_baseline or _identity(curve) in chosen)


def play(task: Task) -> Floats:
    """(2, costs): the winner's holdout accuracy by each of `RULES` at each of `costs`; 0 before the first epoch."""
    # Each study says on standard error that it was made, and ours are made anew for each question.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Ray takes a second of a busy machine for a training inside of its search space.
    warnings.filterwarnings("ignore", message="Define-by-run function")
    at = arena(task.arena)
    return holdout_accuracies(search(at, task), costs(task.budget) * at.full_training_s)


def search(at: Arena, task: Task) -> Simulation:
    """The whole search of one task."""
    budget_s = task.budget * at.full_training_s
    if isinstance(task.method, StockSettings):
        return simulate_stock(
            task.method,
            at.blackbox,
            epochs=at.epochs,
            workers=task.workers,
            max_trials=_MAX_TRIALS,
            seed=task.seed,
            budget_s=budget_s,
        )
    policy = CANDIDATES[task.method](at.blackbox.space, at.blackbox.baseline, task.seed)
    return simulate(
        policy, at.blackbox, workers=task.workers, max_trials=_MAX_TRIALS, seed=task.seed, budget_s=budget_s
    )


def costs(budget: float) -> Floats:
    """(costs,) in full trainings, up to the budget."""
    return np.arange(1, round(budget / STEP) + 1, dtype=np.float64) * STEP


def holdout_accuracies(simulation: Simulation, costs_s: Floats) -> Floats:
    """(2, costs): see `play`; `costs_s` ascends."""
    full = [simulation.winner_at(cost_s) for cost_s in costs_s]
    return np.array(
        [[0.0 if winner is None else winner.holdout_accuracy for winner in full], _any(simulation, costs_s)]
    )


def play_all(tasks: Sequence[Task], *, processes: int) -> Iterator[Floats]:
    """In the order of the tasks."""
    # Spawned, not forked: importing Ray starts threads, whose locks a fork may copy while they are held.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(play, tasks, chunksize=max(1, min(16, len(tasks) // (4 * processes))))


def _any(simulation: Simulation, costs_s: Floats) -> list[float]:
    """Ray compares the metric alone: the first of equals stays."""
    best, holdout, answers, moments = -1.0, 0.0, [], iter(simulation.history)
    moment = next(moments, None)
    for cost_s in costs_s:
        while moment is not None and moment.cost_s <= cost_s:
            report = simulation.records[moment.number].reports[moment.epoch - 1]
            if report.val_accuracy > best:
                best, holdout = report.val_accuracy, report.holdout_accuracy or 0.0
            moment = next(moments, None)
        answers.append(holdout)
    return answers


def _identity(curve: Curve) -> frozenset[tuple[str, object]]:
    return frozenset(curve.params.items())
