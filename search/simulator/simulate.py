"""A whole search on a virtual clock: W workers, any policy, and a landscape in place of photos and GPUs.

What `search.driver.dispatch` does with a study, this does with plain records, in the same order: a job is recorded
before the next decision, a report before anybody hears of it; a segment pauses at its stage's end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from carcls.events import EpochReport
from search.errors import CurvesError
from search.experiment.settings import FinalistSettings, SearchSettings
from search.policy.budget import is_used_up
from search.policy.finals import NO_FINALS, due_s
from search.policy.policy import Policy, Proposal
from search.policy.records import TrialRecord, TrialState, searched
from search.policy.scheduler import BudgetState, Continue, Finished, NewTrial, Repeat, Wait
from search.simulator.blackboxes import Landscape
from search.simulator.callbacks import NOBODY, SimulationListener, Stops
from search.simulator.curves import Curve
from search.simulator.faults import Faults, Strike
from search.simulator.simulation import Decision, Moment, Simulation
from search.simulator.virtual_clock import VirtualClock
from search.simulator.virtual_study import VirtualStudy, report_of

_SETTINGS = SearchSettings()


def simulate(
    policy: Policy,
    landscape: Landscape,
    *,
    workers: int,
    max_trials: int,
    seed: int,
    budget_s: float = math.inf,
    finalists: FinalistSettings = NO_FINALS,
    faults: Faults | None = None,
    max_restarts: int = _SETTINGS.max_restarts,
    stops: Stops = NOBODY.stops,
    listener: SimulationListener = NOBODY,
) -> Simulation:
    """Plays the search to its end: a pure function of its arguments, as far as policy, stops and listener are.

    `budget_s`: seconds of recorded epochs of all workers together, after which the policy is told that its hours are
    used up, as a real search counts its GPU-hours; what runs then goes on to the end of its segment. `finalists`: the
    policy's own; what they will take is kept from the search, as in a real one. `seed` is that of
    the faults and of the landscape's noise; the policy has its own. At equal times, what was begun first comes first.
    Faults are chance here: unlike a real search it does not end for many failures in a row.

    Raises ValueError for fewer than one worker, or where a policy waits though nothing runs; StudyError where it names
    a trial that cannot go on, or finishes while one runs; CurvesError for a curve that ends before its last stage does.
    """
    if workers < 1:
        raise ValueError(f"workers: expected 1 or more, found {workers}")
    capacity = max_trials if landscape.size is None else min(max_trials, landscape.size)
    search = _Search(
        policy=policy,
        landscape=landscape,
        max_trials=capacity,
        seed=seed,
        budget_s=budget_s,
        finalists=finalists,
        faults=faults or Faults(),
        study=VirtualStudy(max_restarts=max_restarts),
        stops=stops,
        listener=listener,
        free=workers,
    )
    return search.play()


@dataclass(slots=True)
class _Segment:
    """One worker's work: a trial on its way to a stage's end."""

    number: int
    stop_after_stage: int
    strike_at_s: float
    away_s: float


@dataclass(frozen=True, slots=True)
class _Event:
    kind: Literal["epoch", "infeasible", "strike", "back"]
    seconds: float
    """Of the worker, since the segment's last event."""
    segment: _Segment | None
    """None for a worker that is back."""


@dataclass
class _Search:
    """A search under way. Each running segment has exactly one event to come: its next epoch, or its end."""

    policy: Policy
    landscape: Landscape
    max_trials: int
    seed: int
    budget_s: float
    finalists: FinalistSettings
    faults: Faults
    study: VirtualStudy
    stops: Stops
    listener: SimulationListener
    free: int
    """Workers that could begin something."""
    clock: VirtualClock[_Event] = field(default_factory=VirtualClock)
    cost_s: float = 0.0
    exhausted: bool = False
    lost_s: float = 0.0
    curves: list[Curve] = field(default_factory=list)
    """By trial."""
    taken: set[int] = field(default_factory=set)
    history: list[Moment] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def play(self) -> Simulation:
        """To the end."""
        while self._fill_workers():
            if not self.clock:
                raise ValueError(f"the policy waits though nothing runs, after {len(self.decisions)} jobs")
            self._happen(self.clock.advance())
        self.study.finish()
        return Simulation(self.study.records(), tuple(self.history), tuple(self.decisions), self.lost_s)

    def _fill_workers(self) -> bool:
        """Hands out jobs while there is a worker for one; False once the policy has said that nothing is left."""
        while self.free:
            records = self.study.records()
            match self.policy.next_job(records, self._budget(records)):
                case Wait():
                    return True
                case Finished():
                    return False
                case NewTrial() as job:
                    number = self._new_trial(records)
                    stages = self.study.record(number).stage_count
                    self._begin(job, number, self.policy.first_stop(self.study.records(), stages))
                case Continue() as job:
                    self._begin(job, job.number, job.stop_after_stage)
                case Repeat() as job:
                    number = self._new_repeat(job)
                    self._begin(job, number, self.study.record(number).stage_count - 1)
        return True

    def _budget(self, records: Sequence[TrialRecord]) -> BudgetState:
        """As the dispatcher's: what was once used up stays so, though what is due to the finals may become less."""
        reserve = due_s(records, self.finalists) / self.cost_s if self.cost_s else 0.0
        over = is_used_up(self.cost_s, self.budget_s, 0.0)
        self.exhausted = self.exhausted or over or is_used_up(self.cost_s, self.budget_s, reserve)
        trials_left = max(0, self.max_trials - len(searched(records)))
        return BudgetState(trials_left, exhausted=self.exhausted, finals_exhausted=over)

    def _new_trial(self, records: Sequence[TrialRecord]) -> int:
        new = self.policy.propose(records)
        curve = self._train(new)
        return self.study.add(curve.params, stage_count=curve.stage_count, is_baseline=new.is_baseline)

    def _new_repeat(self, job: Repeat) -> int:
        curve = self._train(Proposal(self.study.record(job.number).params, repetition=job.repetition))
        return self.study.add(curve.params, stage_count=curve.stage_count, repeats=job.number)

    def _train(self, proposal: Proposal) -> Curve:
        training = self.landscape.train(proposal, taken=self.taken, seed=self.seed)
        if training.row is not None:
            self.taken.add(training.row)
        self.curves.append(training.curve)
        return training.curve

    def _begin(self, job: NewTrial | Continue | Repeat, number: int, stop_after_stage: int) -> None:
        run_to_end = isinstance(job, Continue) and job.run_to_end
        attempt = self.study.start_segment(number, stop_after_stage, run_to_end=run_to_end)
        self.decisions.append(Decision(self.clock.now_s, job, number, stop_after_stage))
        self.free -= 1
        self.listener.started(self.study.record(number))
        strike = self.faults.strike(seed=self.seed, number=number, attempt=attempt) or Strike(math.inf, 0.0)
        self._go_on(_Segment(number, stop_after_stage, self.clock.now_s + strike.after_s, strike.away_s))

    def _go_on(self, segment: _Segment) -> None:
        """Schedules the segment's next event."""
        event = self._next_epoch(segment)
        left_s = segment.strike_at_s - self.clock.now_s
        if event.seconds > left_s:
            event = _Event("strike", left_s, segment)
        self.clock.after(event.seconds, event)

    def _next_epoch(self, segment: _Segment) -> _Event:
        """What comes if nothing strikes; an epoch that a recording could not train takes as long as the one before."""
        curve, record = self.curves[segment.number], self.study.record(segment.number)
        points, trained = curve.points, record.fidelity
        if trained == len(points):
            if not curve.infeasible:
                raise CurvesError(
                    f"trial {record.number}: its curve ends in epoch {trained}, before its last stage does"
                )
            return _Event("infeasible", points[-1].seconds if points else 0.0, segment)
        begins_stage = trained == 0 or record.reports[-1].stage_ended
        fits = not (begins_stage and self.faults.out_of_memory(curve.params, points[trained].stage))
        return _Event("epoch" if fits else "infeasible", points[trained].seconds, segment)

    def _happen(self, event: _Event) -> None:
        if event.segment is None:
            self.free += 1
        elif event.kind == "epoch":
            self._epoch(event.segment)
        elif event.kind == "infeasible":
            self.lost_s += event.seconds
            self.study.fail(event.segment.number, "cannot be trained", infeasible=True)
            self._ended(event.segment)
        else:
            self.lost_s += event.seconds
            self.study.killed(event.segment.number, "its worker died")
            self._ended(event.segment, away_s=event.segment.away_s)

    def _epoch(self, segment: _Segment) -> None:
        number = segment.number
        report = self._report(number)
        self.study.report(number, report)
        self.cost_s += report.seconds.total
        self.history.append(Moment(self.clock.now_s, self.cost_s, number, report.epoch))
        stopped = self.stops(self.study.records(), number)
        record = self.study.record(number)
        self.listener.reported(record, stopped=stopped)
        if record.has_ended(segment.stop_after_stage):
            self.study.reach_stage(number)
        if stopped and record.next_stage is not None:
            self.study.prune(number)
        if self.study.record(number).state is TrialState.RUNNING:
            self._go_on(segment)
        else:
            self._ended(segment)

    def _report(self, number: int) -> EpochReport:
        earlier = self.study.record(number).reports
        point = self.curves[number].points[len(earlier)]
        same_stage = earlier and earlier[-1].stage == point.stage
        stage_epoch = earlier[-1].stage_epoch + 1 if same_stage else 1
        return report_of(point, epoch=len(earlier) + 1, stage_epoch=stage_epoch)

    def _ended(self, segment: _Segment, *, away_s: float = 0.0) -> None:
        if away_s:
            self.clock.after(away_s, _Event("back", 0.0, None))
        else:
            self.free += 1
        self.listener.ended(self.study.record(segment.number))
