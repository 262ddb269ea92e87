"""Simulates a whole search on a virtual clock: any policy and number of workers, with a blackbox instead of photos.

The dispatcher is that of a real search. Only what a segment is and what is written differ.
"""

import math

from carcls.events import EpochReport
from search.experiment.search_settings import FinalistSettings, SearchSettings
from search.policy.finals import NO_FINALS
from search.policy.policy import Policy
from search.simulator.blackboxes import Blackbox
from search.simulator.curves import Curve
from search.simulator.faults import Faults
from search.simulator.simulation import Simulation
from search.simulator.simulation_callbacks import SimulationCallback, Stops, stops_none
from search.simulator.virtual_clock import VirtualClock
from search.simulator.virtual_dispatch import VirtualDispatcher, VirtualSegment, VirtualTrials
from search.simulator.virtual_executor import VirtualExecutor

_SETTINGS = SearchSettings()


def simulate(
    policy: Policy,
    blackbox: Blackbox,
    *,
    workers: int,
    max_trials: int,
    seed: int,
    budget_s: float = math.inf,
    finalists: FinalistSettings = NO_FINALS,
    faults: Faults | None = None,
    max_restarts: int = _SETTINGS.max_restarts,
    stops: Stops = stops_none,
    callback: SimulationCallback | None = None,
) -> Simulation:
    """Run the search to its end. Pure if policy, stops and callback are.

    budget_s: seconds of recorded epochs over all workers. When they are used up, the budget is exhausted, as the
    GPU-hours of a real search; running trials continue to the end of their segment. finalists: those of the policy; as
    in a real search, the seconds that they will need are reserved. seed: seed of the faults and the blackbox's noise;
    the policy has its own.

    At equal times, the segment that started first comes first. Faults are random here, so many failures in a row do not
    stop the search as they would stop a real one.

    Raises ValueError for fewer than one worker, or if the policy waits while no trial is running; StudyError if the
    policy names a trial that cannot continue, or finishes while one is running; CurvesError for a curve that ends
    before its last stage does.
    """
    trials, clock = VirtualTrials(), VirtualClock[object]()
    callbacks = _Callbacks(trials, stops, callback or SimulationCallback())
    dispatcher = VirtualDispatcher(
        trials,
        clock,
        policy=policy,
        blackbox=blackbox,
        max_trials=max_trials if blackbox.size is None else min(max_trials, blackbox.size),
        seed=seed,
        budget_s=budget_s,
        finalists=finalists,
        max_restarts=max_restarts,
        listeners=(callbacks,),
    )
    callbacks.dispatcher = dispatcher
    executor = VirtualExecutor(
        clock, workers=workers, curve_of=_curve_of, seed=seed, faults=faults, stop_early=callbacks.stop_early
    )
    executor.run(dispatcher)
    trials.finish()
    return Simulation(trials.records(), tuple(dispatcher.history), tuple(dispatcher.decisions), executor.lost_s)


def _curve_of(segment: VirtualSegment) -> Curve:
    return segment.curve


class _Callbacks:
    """The dispatcher's listener: asks `stops` after each epoch and passes events to the callback."""

    dispatcher: VirtualDispatcher

    def __init__(self, trials: VirtualTrials, stops: Stops, callback: SimulationCallback) -> None:
        self._trials = trials
        self._stops = stops
        self._callback = callback
        self._stopped = False

    def stop_early(self, number: int) -> bool:
        """Prune the trial if `stops` said so at the epoch just reported. Returns True if it was pruned."""
        if not self._stopped or self._trials.record(number).next_stage is None:
            return False
        self.dispatcher.prune(number)
        return True

    def started(self, number: int) -> None:
        """See `Listener`."""
        self._callback.started(self._trials.record(number))

    def reported(self, number: int, report: EpochReport) -> None:
        """See `Listener`."""
        del report
        self._stopped = self._stops(self._trials.records(), number)
        self._callback.reported(self._trials.record(number), stopped=self._stopped)

    def fell_back(self, number: int) -> None:
        """See `Listener`. A simulation loses no checkpoints."""

    def ended(self, number: int) -> None:
        """See `Listener`."""
        self._callback.ended(self._trials.record(number))
