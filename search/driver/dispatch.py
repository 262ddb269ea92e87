"""Connects policy, trials and workers: hands out segments, records reports and settles ended segments.

The order of events is the same in every run. `StudyDispatcher` drives searches and final trainings, and
`search.simulator.virtual_dispatch` drives simulated searches. They differ in what a segment is and in what they write.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from carcls.events import EpochReport
from search.policy.failures import may_restart
from search.policy.policy import Policy, Proposal
from search.policy.records import OUT_OF_TIME, OUT_OF_WHOLE, TrialRecord
from search.policy.scheduler import BudgetState, Continue, Finished, NewTrial, Repeat, Wait, late
from search.policy.trial_book import TrialBook
from search.worker.segment import Outcome

SegmentT = TypeVar("SegmentT")
"""What a worker needs to train one segment."""


class Listener(Protocol):
    """Receives the events of a run, on the driver's thread, after each change is recorded. Must not raise."""

    def started(self, number: int) -> None:
        """A segment was handed out."""

    def reported(self, number: int, report: EpochReport) -> None:
        """An epoch was recorded."""

    def fell_back(self, number: int) -> None:
        """The last epochs of a running trial were dropped and will be trained again."""

    def ended(self, number: int) -> None:
        """A segment ended: the trial is paused, complete, waiting again, or failed."""


@dataclass(frozen=True, slots=True)
class Started:
    """A segment as it was recorded, before its worker knows of it."""

    job: NewTrial | Repeat | Continue
    number: int
    attempt: int
    stop_after_stage: int


class Dispatcher(ABC, Generic[SegmentT]):
    """Owns the order of events: trials first, listeners last. Not thread-safe: an executor calls it on one thread."""

    def __init__(
        self, trials: TrialBook, *, policy: Policy, max_restarts: int, listeners: tuple[Listener, ...] = ()
    ) -> None:
        self._trials = trials
        self._policy = policy
        self._max_restarts = max_restarts
        self._listeners = listeners
        self._stopping: str | None = None
        self.finished = False
        """True once the policy has said that nothing is left to do."""

    @property
    def stopping(self) -> str | None:
        """Why no further segment is handed out although the search is not over, or None."""
        return self._stopping

    def stop(self, why: str) -> None:
        """Start no further segments. Running ones stop after their next epoch. The first reason is kept."""
        self._stopping = self._stopping or why

    def record(self, number: int) -> TrialRecord:
        """One trial as it is recorded now."""
        return self._trials.record(number)

    def next_segment(self) -> SegmentT | Literal["wait", "finished"]:
        """Decide the next job from the records, record its segment and hand it out."""
        if self._stopping:
            return "finished"
        records = self._trials.records()
        budget = self._budget()
        job = self._policy.next_job(self._offered(records), budget)
        if isinstance(job, Finished):
            for trial in late(records, budget):
                self._trials.cut_off(trial.number, OUT_OF_WHOLE)
            self.finished = True
            return "finished"
        if isinstance(job, Wait) or self._must_wait(records):
            return "finished" if self._stopping else "wait"
        return self._begin(job, records)

    def report(self, number: int, report: EpochReport) -> None:
        """Record an epoch. An epoch that is recorded already changes nothing."""
        report = self._before_report(number, report)
        if not self._trials.report(number, report):
            self._reported_again(number)
            return
        self._after_report(number, report)
        for listener in self._listeners:
            listener.reported(number, report)

    def placed(self, number: int, node_id: str, name: str) -> None:
        """Record the node of a cluster that a segment runs on."""

    def granted(self, number: int, gpus: str) -> None:
        """Note the GPUs that a segment has, as `search.worker.gpu_names` names them."""

    def excluded_gpus(self) -> tuple[str, ...]:
        """Names of the GPUs that must not train any more."""
        return ()

    def fell_back(self, number: int, epoch: int) -> None:
        """Record that a worker lost checkpoints and continues after an earlier epoch; 0 if it starts again."""
        lost = self._trials.record(number).reports[epoch:]
        self._trials.fall_back(number, epoch)
        self._lost(lost)
        for listener in self._listeners:
            listener.fell_back(number)

    def segment_ended(self, number: int, outcome: Outcome) -> None:
        """Settle a segment: its trial is paused, complete, infeasible, failed, or waiting to start again."""
        record = self._trials.record(number)
        outcome = _checked(outcome, record)
        self._settle(record, outcome)
        self._after_end(number, outcome)
        for listener in self._listeners:
            listener.ended(number)

    def is_out_of_time(self, number: int) -> bool:
        """True if a running trial should stop after the epoch it has just reported."""
        del number
        return False

    def _late_cause(self) -> str:
        """Cause of a trial that is out of time."""
        return OUT_OF_TIME

    def _begin(self, job: NewTrial | Repeat | Continue, records: tuple[TrialRecord, ...]) -> SegmentT:
        match job:
            case NewTrial():
                number = self._add(self._policy.propose(records))
                stop = self._policy.first_stop(self._trials.records(), self._trials.record(number).stage_count)
            case Repeat():
                number = self._add_repeat(job)
                stop = self._trials.record(number).stage_count - 1
            case Continue():
                number, stop = job.number, job.stop_after_stage
        return self._hand_out(job, number, stop)

    def _hand_out(self, job: NewTrial | Repeat | Continue, number: int, stop_after_stage: int) -> SegmentT:
        """Record the segment before it starts."""
        self._before_segment(number)
        run_to_end = isinstance(job, Continue) and job.run_to_end
        attempt = self._trials.start_segment(number, stop_after_stage, run_to_end=run_to_end)
        for listener in self._listeners:
            listener.started(number)
        return self._segment(Started(job, number, attempt, stop_after_stage))

    def _settle(self, record: TrialRecord, outcome: Outcome) -> None:
        """Change the trial's state according to its segment's outcome."""
        number, cause = record.number, outcome.cause or outcome.kind
        match outcome.kind:
            case "ended":
                self._trials.reach_stage(number)
            case "killed" if may_restart(record, self._max_restarts):
                self._trials.interrupt(number, cause)
            case "preempted":
                self._trials.interrupt(number, cause, died=False)
            case "out_of_time":
                self._trials.interrupt(number, self._late_cause(), died=False)
            case _:
                infeasible = self._blames_configuration(outcome)
                self._trials.fail(number, cause, infeasible, traceback=self._traceback(record))

    @abstractmethod
    def _budget(self) -> BudgetState:
        """What is left of the budget."""

    @abstractmethod
    def _add(self, new: Proposal) -> int:
        """Add a proposed trial; returns its number."""

    @abstractmethod
    def _add_repeat(self, job: Repeat) -> int:
        """Add a repeat of a finalist; returns its number."""

    @abstractmethod
    def _segment(self, started: Started) -> SegmentT:
        """All that the worker of a started segment needs."""

    def _blames_configuration(self, outcome: Outcome) -> bool:
        """True if the configuration caused the failure. Its trial is then infeasible, and never retried."""
        return outcome.kind in ("infeasible", "out_of_memory")

    def _traceback(self, record: TrialRecord) -> str | None:
        """Path of the traceback of a failure, relative to the study's folder, or None."""
        del record
        return None

    def _offered(self, records: tuple[TrialRecord, ...]) -> tuple[TrialRecord, ...]:
        """The records as the policy should see them, without trials that cannot be handed out now."""
        return records

    def _must_wait(self, records: tuple[TrialRecord, ...]) -> bool:
        """True if no segment may start now. May also stop the run."""
        del records
        return False

    def _before_segment(self, number: int) -> None:
        """Called before a segment is recorded."""

    def _before_report(self, number: int, report: EpochReport) -> EpochReport:
        """Called before an epoch is recorded; returns the report to record."""
        del number
        return report

    def _reported_again(self, number: int) -> None:
        """Called for an epoch that is recorded already."""

    def _after_report(self, number: int, report: EpochReport) -> None:
        """Called after an epoch was recorded, before the listeners."""

    def _lost(self, reports: tuple[EpochReport, ...]) -> None:
        """Called after these epochs were dropped."""

    def _after_end(self, number: int, outcome: Outcome) -> None:
        """Called after a segment's end was recorded, before the listeners."""


def _checked(outcome: Outcome, record: TrialRecord) -> Outcome:
    """The outcome, or a failure if the segment ended before its rung, since a retry would end the same way."""
    stage = record.stop_after_stage or 0
    if outcome.kind != "ended" or record.has_ended(stage):
        return outcome
    cause = f"its segment ended after epoch {record.fidelity}, before the end of stage {stage}, to which it was sent"
    return Outcome("failed", cause)
