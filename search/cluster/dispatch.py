"""Between policy, study and workers: which segment next, what a report changes, what an ending means."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from carcls.config import TrainConfig
from carcls.events import EpochReport
from carcls.training.retention import prune_checkpoints
from search.cluster.segment import Outcome, Segment
from search.experiment.experiment import Experiment
from search.folder import StudyFolder
from search.policy.records import TrialRecord
from search.policy.sampler import ask
from search.policy.scheduler import BudgetState, Continue, Finished, Ladder, NewTrial, Wait, next_job
from search.study import Study

MAX_RESTARTS = 3
"""Times that a trial whose process or node died is started again before it counts as failed."""


class Listener(Protocol):
    """Who watches the search: progress, TensorBoard. Called on the driver's thread, after the study has recorded."""

    def changed(self, record: TrialRecord) -> None:
        """A trial started, ended a segment, or failed."""

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """A trial finished an epoch."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What every segment of this run needs to know of its place."""

    threads: int
    gpu_share: float | None
    store_root: str | None
    deterministic: bool


class Dispatcher:
    """Owns the order of things: the study first, then everybody else. Not thread-safe: Tune calls it from one thread."""

    def __init__(
        self,
        experiment: Experiment,
        study: Study,
        folder: StudyFolder,
        worker: WorkerSettings,
        listeners: tuple[Listener, ...] = (),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._experiment = experiment
        self._study = study
        self._folder = folder
        self._worker = worker
        self._listeners = listeners
        self._clock_s = clock_s
        self._started_s = clock_s()
        self._elapsed_before_s = study.elapsed_s
        settings = experiment.search.scheduler
        self._ladder = Ladder(reduction_factor=settings.reduction_factor, stopping=settings.kind == "asha")

    def next_segment(self) -> Segment | Literal["wait", "finished"]:
        """Decides the next job from the records and hands it out, recorded before it starts."""
        records = self._study.records()
        job = next_job(records, self._ladder, self.budget())
        match job:
            case Wait():
                return "wait"
            case Finished():
                return "finished"
            case NewTrial():
                number = self._new_trial(records)
                stop_after_stage = self._ladder.first_stop(len(self._study.config(number).stages))
                return self._hand_out(number, stop_after_stage, carried=False)
            case Continue():
                return self._hand_out(job.number, job.stop_after_stage, carried=job.carried)

    def report(self, number: int, report: EpochReport) -> None:
        """Records an epoch, then lets checkpoints go that nothing needs any more."""
        self._study.report(number, report)
        self._save_clock()
        record = self._study.record(number)
        prune_checkpoints(self._folder.trial(number), record.reports)
        for listener in self._listeners:
            listener.reported(record, report)

    def segment_ended(self, number: int, outcome: Outcome) -> None:
        """Moves the trial on: paused at its rung, complete, infeasible, failed, or to be started again."""
        record = self._study.record(number)
        match outcome.kind:
            case "ended" if record.next_stage is None:
                self._study.complete(number)
            case "ended":
                self._study.pause(number)
            case "killed" if record.restarts < MAX_RESTARTS:
                self._study.interrupt(number, outcome.cause or "killed")
            case _:
                self._study.fail(number, outcome.cause or outcome.kind, infeasible=outcome.kind == "infeasible")
        self._save_clock()
        self._tell(number)

    def budget(self) -> BudgetState:
        """What is left, from the study's records and its clock; once exhausted it stays so, as recorded."""
        search = self._experiment.search
        trials_left = max(0, search.trials - len(self._study.records()))
        exhausted = self._study.budget_exhausted or self._over(search.budget.hours, search.budget.gpu_hours)
        if exhausted and not self._study.budget_exhausted:
            self._study.set_budget_exhausted()
        return BudgetState(trials_left=trials_left, exhausted=exhausted)

    def _over(self, hours: float | None, gpu_hours: float | None) -> bool:
        elapsed_h = self.elapsed_s() / 3600
        gpu_h = trained_s(self._study.records()) * (self._worker.gpu_share or 0.0) / 3600
        return (hours is not None and elapsed_h >= hours) or (gpu_hours is not None and gpu_h >= gpu_hours)

    def elapsed_s(self) -> float:
        """Wall-clock seconds of this study over all its runs."""
        return self._elapsed_before_s + self._clock_s() - self._started_s

    def _save_clock(self) -> None:
        self._study.set_elapsed_s(self.elapsed_s())

    def _new_trial(self, records: tuple[TrialRecord, ...]) -> int:
        """Trial 0 is the default recipe; the sampler proposes the others."""
        number = len(records)
        if number == 0:
            params = dict(self._experiment.baseline)
        else:
            search = self._experiment.search
            params = ask(self._experiment.space, records, number=number, seed=search.seed, sampler=search.sampler)
        config = self._experiment.bind(params)
        return self._study.add_trial(params, config, space=self._experiment.space, is_baseline=number == 0)

    def _hand_out(self, number: int, stop_after_stage: int, *, carried: bool) -> Segment:
        attempt = self._study.start_segment(number, stop_after_stage, carried=carried)
        record = self._study.record(number)
        self._tell(number)
        return Segment(
            study=str(self._folder.root),
            number=number,
            attempt=attempt,
            config=self._study.config(number).model_dump(mode="json"),
            resume=record.reports[-1].checkpoint if record.reports else None,
            stop_after_stage=stop_after_stage,
            data_root=str(self._experiment.data.root),
            view_seed=self._experiment.search.seed,
            store_root=self._worker.store_root,
            threads=self._worker.threads,
            gpu_share=self._worker.gpu_share,
            deterministic=self._worker.deterministic,
        )

    def _tell(self, number: int) -> None:
        record = self._study.record(number)
        for listener in self._listeners:
            listener.changed(record)


def trained_s(records: tuple[TrialRecord, ...]) -> float:
    """Seconds that workers spent on recorded epochs: building, training and validating."""
    return sum(
        report.seconds.train + report.seconds.validate + report.seconds.build
        for record in records
        for report in record.reports
    )


def train_config(folder: Path) -> TrainConfig:
    """The configuration that a finished final training was run with."""
    return TrainConfig.model_validate_json((folder / "config.json").read_text(encoding="utf-8"))
