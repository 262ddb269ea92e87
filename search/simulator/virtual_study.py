"""A study without a disk: the records of a simulated search, changed as `search.study.study` and the dispatcher do it.

Held equal to them by a test that plays the same search through both.
"""

from collections.abc import Mapping
from dataclasses import replace

from carcls.events import EpochReport, PhaseSeconds
from search.experiment.domains import Value
from search.policy.failures import may_restart
from search.policy.records import TrialRecord, TrialState, searched
from search.simulator.curves import CurvePoint


class VirtualStudy:
    """Trials by number, and the one order in which they may change. Its callers are trusted to keep that order."""

    def __init__(self, *, max_restarts: int) -> None:
        self._max_restarts = max_restarts
        self._records: list[TrialRecord] = []

    def records(self) -> tuple[TrialRecord, ...]:
        """All trials in order of number."""
        return tuple(self._records)

    def record(self, number: int) -> TrialRecord:
        """One trial."""
        return self._records[number]

    def add(
        self, params: Mapping[str, Value], *, stage_count: int, is_baseline: bool = False, repeats: int | None = None
    ) -> int:
        """A new trial, WAITING; returns its number. `repeats`: the trial that it is to repeat."""
        new = TrialRecord(
            number=len(self._records),
            params=params,
            state=TrialState.WAITING,
            stage_count=stage_count,
            reports=(),
            attempts=0,
            infeasible=False,
            cause=None,
            is_baseline=is_baseline,
            repeats=repeats,
        )
        self._records.append(new)
        return new.number

    def start_segment(self, number: int, stop_after_stage: int, *, carried: bool) -> int:
        """-> RUNNING; returns the attempt's number, counted from 0. Raises ValueError where it is not to be started:
        a policy that says so is wrong."""
        record = self._records[number]
        if record.state not in (TrialState.WAITING, TrialState.PAUSED):
            raise ValueError(f"the policy goes on with trial {number}, which is {record.state}, not WAITING or PAUSED")
        carried_at = len(searched(self._records)) if carried else record.carried_at
        started = replace(record, attempts=record.attempts + 1, stop_after_stage=stop_after_stage)
        self._put(replace(started, state=TrialState.RUNNING, carried_at=carried_at))
        return record.attempts

    def report(self, number: int, report: EpochReport) -> None:
        """The next epoch of a running trial."""
        record = self._records[number]
        self._put(replace(record, reports=(*record.reports, report)))

    def segment_ended(self, number: int) -> None:
        """RUNNING -> PAUSED, or COMPLETE after the last stage; infeasible where no epoch has a finite score."""
        record = self._records[number]
        if record.next_stage is not None:
            self._put(replace(record, state=TrialState.PAUSED))
        elif record.best is None:
            self.fail(number, "no epoch with a finite validation score", infeasible=True)
        else:
            self._put(replace(record, state=TrialState.COMPLETE))

    def fail(self, number: int, cause: str, *, infeasible: bool) -> None:
        """-> FAIL."""
        self._put(replace(self._records[number], state=TrialState.FAIL, cause=cause, infeasible=infeasible))

    def killed(self, number: int, cause: str) -> None:
        """RUNNING -> WAITING, or FAIL where it died too often in one place."""
        record = self._records[number]
        if may_restart(record, self._max_restarts):
            deaths = (*record.deaths, record.fidelity)
            self._put(replace(record, state=TrialState.WAITING, cause=cause, deaths=deaths))
        else:
            self.fail(number, cause, infeasible=False)

    def prune(self, number: int) -> None:
        """RUNNING or PAUSED -> PRUNED before its end: what a policy of our own never does, and peers do."""
        self._put(replace(self._records[number], state=TrialState.PRUNED))

    def finish(self) -> None:
        """The search is over: PAUSED -> PRUNED; what waits is PRUNED too, or FAIL without any epoch.

        Raises ValueError while a trial is RUNNING: a policy that is finished then is wrong.
        """
        running = [record.number for record in self._records if record.state is TrialState.RUNNING]
        if running:
            raise ValueError(f"the policy is finished while trials {running} are running")
        for record in self.records():
            if record.state is TrialState.WAITING and not record.reports:
                self.fail(record.number, "not started before the search was finished", infeasible=False)
            elif record.state in (TrialState.PAUSED, TrialState.WAITING):
                self.prune(record.number)

    def _put(self, record: TrialRecord) -> None:
        self._records[record.number] = record


def report_of(point: CurvePoint, *, epoch: int, stage_epoch: int) -> EpochReport:
    """An epoch of a curve as a trial would report it: all seconds are training, what curves do not tell is neutral."""
    return EpochReport(
        epoch=epoch,
        stage=point.stage,
        stage_name=f"stage {point.stage}",
        stage_epoch=stage_epoch,
        stage_ended=point.stage_ended,
        train_loss=0.0,
        train_accuracy=0.0,
        val_log_loss=point.val_log_loss,
        val_accuracy=point.val_accuracy,
        val_macro_f1=point.val_accuracy,
        learning_rate=0.0,
        image_size=0,
        images_per_s=0.0,
        trainable_parameters=0,
        seconds=PhaseSeconds(train=point.seconds, validate=0.0),
        checkpoint=f"epoch-{epoch:04d}.npz",
        best_weights=f"best-{epoch:04d}.npz",
        holdout_accuracy=point.holdout_accuracy,
        holdout_log_loss=point.holdout_log_loss,
        val_scaled_log_loss=point.val_scaled_log_loss,
        kept_epoch=point.kept_epoch,
    )
