"""The trials of one search in memory, changed only by `transitions`. A real study also writes each change."""

from collections.abc import Iterable
from fractions import Fraction
from math import isfinite

from carcls.events import EpochReport
from search.errors import StudyError
from search.policy import transitions
from search.policy.records import TrialRecord, TrialState, searched


class TrialBook:
    """Trials by number, counted from 0.

    Methods raise StudyError for a number without a trial, and for changes that `transitions` do not allow. Subclasses
    override `_keep` to write a changed record, `_keep_report` to write an epoch, and `_check_writable`.
    """

    def __init__(self, records: Iterable[TrialRecord] = ()) -> None:
        self._records = list(records)
        self._trained_s = sum((_exact(record) for record in self._records), Fraction())

    @property
    def trained_s(self) -> float:
        """Seconds that workers spent on all recorded epochs, as `math.fsum` adds them, without a look at each trial."""
        return float(self._trained_s)

    def records(self) -> tuple[TrialRecord, ...]:
        """All trials in order of number. Cheap: it reads no file."""
        return tuple(self._records)

    def record(self, number: int) -> TrialRecord:
        """One trial."""
        if not 0 <= number < len(self._records):
            raise StudyError(f"no trial {number}: the study has {len(self._records)}")
        return self._records[number]

    def start_segment(self, number: int, stop_after_stage: int, *, run_to_end: bool = False) -> int:
        """WAITING or PAUSED -> RUNNING. Returns the attempt's number, counted from 0."""
        record = self._to_change(number)
        at = len(searched(self._records)) if run_to_end else None
        self._change(transitions.started(record, stop_after_stage, run_to_end_at=at))
        return record.attempts

    def place(self, number: int, node: str) -> None:
        """Record the node of a RUNNING trial's latest attempt."""
        self._change(transitions.placed(self._to_change(number), node))

    def report(self, number: int, report: EpochReport) -> bool:
        """Record one epoch of a RUNNING trial. Returns False if that epoch is recorded already."""
        before = self._to_change(number)
        after = transitions.reported(before, report)
        if after is before:
            return False
        self._put(self._keep_report(after))
        return True

    def fall_back(self, number: int, epoch: int) -> None:
        """Drop the epochs of a RUNNING trial after `epoch`, whose checkpoints are lost."""
        before = self._to_change(number)
        after = transitions.fallen_back(before, epoch)
        if after is not before:
            self._change(after)

    def reach_stage(self, number: int) -> None:
        """RUNNING -> PAUSED at a stage's end. After the last one: COMPLETE, or FAIL without a finite score."""
        self._change(transitions.stage_reached(self._to_change(number)))

    def fail(self, number: int, cause: str, infeasible: bool, *, traceback: str | None = None) -> None:
        """WAITING or RUNNING -> FAIL."""
        self._change(transitions.failed(self._to_change(number), cause, infeasible=infeasible, traceback=traceback))

    def interrupt(self, number: int, cause: str, *, died: bool = True) -> None:
        """RUNNING -> WAITING. died: its process or node died."""
        self._change(transitions.interrupted(self._to_change(number), cause, died=died))

    def cut_off(self, number: int, cause: str) -> None:
        """A WAITING trial is to wait for more hours when the search is finished, see `transitions.cut_off`."""
        self._change(transitions.cut_off(self._to_change(number), cause))

    def interrupt_running(self) -> tuple[int, ...]:
        """RUNNING -> WAITING for all trials, once no worker is left. Returns the numbers of those now WAITING."""
        self._check_writable()
        running = [record for record in self._records if record.state is TrialState.RUNNING]
        for record in running:
            self._change(transitions.requeued(record))
        return tuple(record.number for record in running if self.record(record.number).state is TrialState.WAITING)

    def ask_stop(self, number: int) -> None:
        """Stop a trial for the user, see `transitions.stop_asked`. Asking again changes nothing."""
        before = self._to_change(number)
        if not before.stop_asked:
            self._change(transitions.stop_asked(before))

    def ask_promotion(self, number: int, stage: int) -> None:
        """Send a trial to the end of a stage for the user. Asking again changes nothing."""
        before = self._to_change(number)
        if (before.promoted_to or 0) < stage:
            self._change(transitions.promotion_asked(before, stage))

    def end_stopped(self, number: int) -> None:
        """RUNNING, WAITING or PAUSED -> PRUNED for a trial that the user asked to stop."""
        self._change(transitions.stopped(self._to_change(number)))

    def finish(self) -> None:
        """End the search: PAUSED and WAITING -> PRUNED, or FAIL without an epoch; see `transitions.finished`."""
        self._check_writable()
        for changed in transitions.finished(self._records):
            self._change(changed)

    def _to_change(self, number: int) -> TrialRecord:
        self._check_writable()
        return self.record(number)

    def _change(self, changed: TrialRecord) -> None:
        self._put(self._keep(changed))

    def _put(self, record: TrialRecord) -> None:
        """Replace a record, or append the next one."""
        if record.number == len(self._records):
            self._records.append(record)
            self._trained_s += _exact(record)
            return
        before = self._records[record.number]
        self._records[record.number] = record
        if before.reports is not record.reports:
            self._trained_s += _exact(record) - _exact(before)

    def _check_writable(self) -> None:
        """Raise StudyError if the trials are read-only."""

    def _keep(self, changed: TrialRecord) -> TrialRecord:
        """Write a changed record; returns it as stored."""
        return changed

    def _keep_report(self, changed: TrialRecord) -> TrialRecord:
        """Write a record whose last report is new; returns it as stored."""
        return changed


def _exact(record: TrialRecord) -> Fraction:
    """The record's seconds without rounding, so that a running sum never drifts. 0 if a report's are not finite."""
    return Fraction(record.trained_s) if isfinite(record.trained_s) else Fraction()
