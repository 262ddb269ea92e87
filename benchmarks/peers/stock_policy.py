"""The stock stack in the simulator: Ray's own AsyncHyperBandScheduler and OptunaSearch, told what Tune tells them.

The objects are Ray's, unchanged. They see of a trial its id alone and of the controller nothing; the order of calls is
that of `TuneController` (Ray 2.60): suggest, on_trial_add; on each result the scheduler, then the searcher unless the
trial is to be stopped; at its end on_trial_complete of both with the last result, or on_trial_error and error=True.
Trials are asked for one at a time, as with `max_concurrent_trials`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from ray.tune.result import TRAINING_ITERATION
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from benchmarks.peers.snapped_sampler import SnappedSampler
from search.policy.policy import Proposal
from search.policy.records import TrialRecord, TrialState
from search.policy.scheduler import BudgetState, Continue, Finished, Job, NewTrial, Wait
from search.simulator.blackboxes import Blackbox
from search.simulator.simulate import simulate
from search.simulator.simulation import Simulation
from search.simulator.simulation_callbacks import SimulationCallback

TIME = "epoch"
METRIC = "val_accuracy"


@dataclass(frozen=True, slots=True)
class StockSettings:
    """What a user of Ray Tune sets; the defaults are Ray's."""

    sampler: Literal["tpe", "random"] = "tpe"
    """`tpe`: Optuna's with its default arguments, seeded."""
    stopping: bool = True
    """False: every trial to its end, first in first out."""
    grace_epochs: int = 1
    """Epochs before a trial may be stopped."""
    reduction_factor: float = 4.0
    baseline_first: bool = False
    """The default recipe as `points_to_evaluate`."""


@dataclass(frozen=True, slots=True)
class FakeTrial:
    """All that scheduler and searcher read of Tune's Trial."""

    trial_id: str


class StockPolicy(SimulationCallback):
    """Policy, stops and listener of one simulated search: it remembers, so each search needs its own."""

    def __init__(self, scheduler: TrialScheduler, searcher: Searcher) -> None:
        self._scheduler = scheduler
        self._searcher = searcher

    def next_job(self, trials: Sequence[TrialRecord], budget: BudgetState) -> Job:
        """What was interrupted goes on; then new trials until trials or budget are used up."""
        waiting = next((trial for trial in trials if trial.state is TrialState.WAITING), None)
        if waiting is not None:
            return Continue(waiting.number, waiting.stage_count - 1)
        if budget.trials_left > 0 and not budget.exhausted:
            return NewTrial()
        return Wait() if any(trial.state is TrialState.RUNNING for trial in trials) else Finished()

    def propose(self, trials: Sequence[TrialRecord]) -> Proposal:
        """What the searcher suggests."""
        return Proposal(self._searcher.suggest(str(len(trials))))

    def first_stop(self, trials: Sequence[TrialRecord], stage_count: int) -> int:
        """The last stage: stages mean nothing to Ray."""
        return stage_count - 1

    def stops(self, records: Sequence[TrialRecord], number: int) -> bool:
        """The scheduler's word on the newest result."""
        record = records[number]
        decision = self._scheduler.on_trial_result(None, _trial(record), _result(record))
        return bool(decision == TrialScheduler.STOP)

    def started(self, record: TrialRecord) -> None:
        """A restart is the same Ray trial."""
        if record.attempts == 1:
            self._scheduler.on_trial_add(None, _trial(record))

    def reported(self, record: TrialRecord, *, stopped: bool) -> None:
        """A result on which the trial is stopped never reaches the searcher."""
        if not stopped:
            self._searcher.on_trial_result(str(record.number), _result(record))

    def ended(self, record: TrialRecord) -> None:
        """Stopped and finished are one to Tune; a training that diverged or ran out of memory is an error."""
        if record.state in (TrialState.COMPLETE, TrialState.PRUNED):
            self._scheduler.on_trial_complete(None, _trial(record), _result(record))
            self._searcher.on_trial_complete(str(record.number), _result(record))
        elif record.state is TrialState.FAIL:
            self._scheduler.on_trial_error(None, _trial(record))
            self._searcher.on_trial_complete(str(record.number), error=True)


def simulate_stock(
    settings: StockSettings,
    blackbox: Blackbox,
    *,
    epochs: int,
    workers: int,
    max_trials: int,
    seed: int,
    budget_s: float,
) -> Simulation:
    """One whole search; `epochs`: of a training that is not stopped. The same arguments have the same answer."""
    with numpy_seeded(seed):
        stock = StockPolicy(make_scheduler(settings, epochs), make_searcher(settings, blackbox, seed=seed))
        return simulate(
            stock,
            blackbox,
            workers=workers,
            max_trials=max_trials,
            seed=seed,
            budget_s=budget_s,
            stops=stock.stops,
            callback=stock,
        )


def make_scheduler(settings: StockSettings, epochs: int) -> TrialScheduler:
    """Raises AssertionError, as Ray does, for a grace period beyond `epochs`."""
    if not settings.stopping:
        return FIFOScheduler()
    return AsyncHyperBandScheduler(
        time_attr=TIME,
        metric=METRIC,
        mode="max",
        max_t=epochs,
        grace_period=settings.grace_epochs,
        reduction_factor=settings.reduction_factor,
    )


def make_searcher(settings: StockSettings, blackbox: Blackbox, *, seed: int) -> OptunaSearch:
    """With a study that holds what the blackbox trained."""
    first = blackbox.train(Proposal(blackbox.baseline, is_baseline=True), taken=frozenset(), seed=seed)
    enqueued = [first] if settings.baseline_first else []
    taken = [training.row for training in enqueued if training.row is not None]
    return OptunaSearch(
        blackbox.space.suggest,
        metric=METRIC,
        mode="max",
        sampler=SnappedSampler(_sampler(settings, seed), blackbox, seed=seed, taken=taken),
        points_to_evaluate=[dict(training.curve.params) for training in enqueued],
    )


@contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """Ray draws its brackets from NumPy's global generator, which is given back as it was."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def _sampler(settings: StockSettings, seed: int) -> BaseSampler:
    return TPESampler(seed=seed) if settings.sampler == "tpe" else RandomSampler(seed=seed)


def _trial(record: TrialRecord) -> FakeTrial:
    return FakeTrial(str(record.number))


def _result(record: TrialRecord) -> dict[str, Any]:
    """The newest epoch as Tune passes it on; empty before any."""
    if not record.reports:
        return {}
    newest = record.reports[-1]
    return {TIME: newest.epoch, TRAINING_ITERATION: newest.epoch, METRIC: newest.val_accuracy}
