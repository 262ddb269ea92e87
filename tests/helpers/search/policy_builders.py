"""Plain records for the tests of the policy, and a driver that simulates a whole search on them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from carcls.events import EpochReport, PhaseSeconds
from search.experiment.search_settings import FinalistSettings
from search.policy.finals import NO_FINALS
from search.policy.records import TrialRecord, TrialState, searched
from search.policy.rungs import Ladder
from search.policy.scheduler import BudgetState, Continue, Finished, Job, NewTrial, Repeat, Wait, next_job
from search.policy.transitions import failed, interrupted, new_trial, reported, stage_reached, started

Curves = Sequence[Sequence[float]]
"""Validation accuracies, by stage and epoch."""


def report(
    epoch: int, accuracy: float, *, stage: int = 0, stage_epoch: int = 1, ended: bool = True, log_loss: float = 1.0
) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        stage=stage,
        stage_name=f"s{stage}",
        stage_epoch=stage_epoch,
        stage_ended=ended,
        train_loss=1.0,
        train_accuracy=0.5,
        val_log_loss=log_loss,
        val_accuracy=accuracy,
        val_macro_f1=accuracy,
        learning_rate=0.001,
        image_size=32,
        images_per_s=10.0,
        trainable_parameters=10,
        seconds=PhaseSeconds(train=1.0, validate=0.5),
        checkpoint=f"attempt-0/epoch-{epoch:04d}.npz",
        best_weights=f"attempt-0/best-{epoch:04d}.npz",
    )


def reports(curves: Curves) -> tuple[EpochReport, ...]:
    """Reports of complete stages, in order."""
    points = [(stage, at, value) for stage, values in enumerate(curves) for at, value in enumerate(values, start=1)]
    return tuple(
        report(epoch, value, stage=stage, stage_epoch=at, ended=at == len(curves[stage]))
        for epoch, (stage, at, value) in enumerate(points, start=1)
    )


def trial(
    number: int, state: TrialState, *curves: Sequence[float], stage_count: int = 3, **changes: object
) -> TrialRecord:
    values: dict[str, object] = {
        "params": {"x": float(number)},
        "reports": reports(curves),
        "attempts": len(curves),
        "infeasible": False,
        "cause": None,
        "is_baseline": number == 0,
    }
    return TrialRecord(number=number, state=state, stage_count=stage_count, **{**values, **changes})


@dataclass
class Search:
    """A search simulated on plain records: results are fixed, and the order in which segments end is random."""

    curves: Sequence[Curves]
    """By proposed trial; the first is the baseline. A NaN ends the trial as infeasible, and its repeats too."""
    ladder: Ladder
    workers: int
    chance: Random
    exhausted_after: int | None = None
    """Number of ended segments after which the hours are used up."""
    finals_exhausted: bool = False
    finalists: FinalistSettings = NO_FINALS
    deaths_left: int = 0
    """How many workers may still die during a segment."""
    on_job: Callable[["Search", Job], None] = lambda search, job: None
    records: list[TrialRecord] = field(default_factory=list)
    ended_segments: int = 0
    trained: list[tuple[int, int]] = field(default_factory=list)
    """(trial, stage) for each stage that was trained to its end."""

    @property
    def budget(self) -> BudgetState:
        exhausted = self.exhausted_after is not None and self.ended_segments >= self.exhausted_after
        return BudgetState(
            trials_left=len(self.curves) - len(searched(self.records)),
            exhausted=exhausted,
            finals_exhausted=self.finals_exhausted,
        )

    def running(self) -> list[TrialRecord]:
        return [record for record in self.records if record.state is TrialState.RUNNING]

    def play(self) -> None:
        """Runs to the end; fails after more decisions than possible."""
        for _ in range(100 * sum(len(curves) for curves in self.curves) * (1 + self.finalists.seeds) + 100):
            job = self._next_job()
            self.on_job(self, job)
            match job:
                case Finished():
                    return
                case Wait():
                    self._end_one()
                case NewTrial():
                    self._add()
                case Repeat():
                    self._repeat(job)
                case Continue():
                    self._start(job)
        raise AssertionError("the search does not end")

    def _next_job(self) -> Job:
        if len(self.running()) >= self.workers:
            return Wait()
        return next_job(self.records, self.ladder, self.budget, self.finalists)

    def _add(self) -> None:
        proposed = len(searched(self.records))
        stage_count = len(self.curves[proposed])
        new = new_trial(len(self.records), {"x": proposed}, stage_count=stage_count, is_baseline=proposed == 0)
        stop = self.ladder.as_of([*self.records, new]).first_stop(stage_count)
        self.records.append(started(new, stop))

    def _repeat(self, job: Repeat) -> None:
        finalist = self.records[job.number]
        stage_count = finalist.stage_count
        new = new_trial(len(self.records), finalist.params, stage_count=stage_count, repeats=job.number)
        self.records.append(started(new, stage_count - 1))

    def _start(self, job: Continue) -> None:
        at = len(searched(self.records)) if job.run_to_end else None
        self._put(started(self.records[job.number], job.stop_after_stage, run_to_end_at=at))

    def _end_one(self) -> None:
        record = self.chance.choice(self.running())
        if self.deaths_left and self.chance.random() < 0.3:
            self.deaths_left -= 1
            self._put(interrupted(record, "killed", died=True))
            return
        self.ended_segments += 1
        while record.next_stage is not None and not record.has_ended(record.stop_after_stage):
            record = self._train_stage(record, record.next_stage)
            if record.state is TrialState.FAIL:
                break
        self._put(stage_reached(record) if record.state is TrialState.RUNNING else record)

    def _train_stage(self, record: TrialRecord, stage: int) -> TrialRecord:
        curves = self.curves[record.params["x"]][: stage + 1]
        self.trained.append((record.number, stage))
        if any(math.isnan(value) for value in curves[stage]):
            return failed(record, "NaN", infeasible=True)
        for report in reports(curves)[record.fidelity :]:
            record = reported(record, report)
        return record

    def _put(self, record: TrialRecord) -> None:
        self.records[record.number] = record


def by_number(records: Sequence[TrialRecord]) -> Mapping[int, TrialRecord]:
    return {record.number: record for record in records}
