"""Between policy, study and workers: which segment next, what a report changes, what an ending means."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol

from carcls.config import TrainConfig
from carcls.events import EpochReport
from carcls.training.retention import prune_checkpoints, prune_retrained, remove_unrecorded
from search.driver.budget_use import Spending
from search.driver.disk_room import CheckpointRoom
from search.driver.failure_streak import FailureRow
from search.driver.oom_memory import Refusals
from search.driver.outage import Outage, missing
from search.experiment.experiment import Experiment
from search.policy.failures import may_restart
from search.policy.policy import Policy, search_policy
from search.policy.records import OUT_OF_TIME, TrialRecord
from search.policy.scheduler import Continue, Finished, NewTrial, Repeat, Wait
from search.study.checked_files import split_digest
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker.segment import Outcome, Segment

_SEED_END = 2**31
"""No seed of a training is as large."""


class Listener(Protocol):
    """Who watches the search. Called on the driver's thread, after the study has recorded; must not raise."""

    def started(self, number: int) -> None:
        """A segment was handed out."""

    def reported(self, number: int, report: EpochReport) -> None:
        """An epoch was recorded."""

    def fell_back(self, number: int) -> None:
        """Of a running trial's epochs the last ones were taken back, to be trained again."""

    def ended(self, number: int) -> None:
        """A segment ended: the trial is paused, complete, waiting again, or failed."""


class Failures(Protocol):
    """What failed trainings mean for the whole run; see `FailureRow`, which is a search's."""

    def blames_configuration(self, outcome: Outcome) -> bool:
        """True where a failure is the configuration's own: its trial is infeasible then, and never tried again."""

    def ended(self, number: int, outcome: Outcome) -> str | None:
        """A segment ended, and the study has it: why the run should stop, or None where it should go on."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What every segment of this run needs to know of its place."""

    threads: int
    gpu_share: float | None
    store: dict[str, Any]
    """The experiment's store settings, as JSON."""
    deterministic: bool
    needs_best: bool = False
    """Whether a trial goes on from a checkpoint only where the best weights that it names are whole too."""


class Dispatcher:
    """Owns the order of things: the study first, then everybody else. Not thread-safe: Tune has one thread."""

    def __init__(
        self,
        experiment: Experiment,
        study: Study,
        folder: StudyFolder,
        *,
        policy: Policy,
        worker: WorkerSettings,
        listeners: tuple[Listener, ...] = (),
        clock_s: Callable[[], float] = time.monotonic,
        room: CheckpointRoom | None = None,
        failures: Failures | None = None,
        outage: Outage | None = None,
    ) -> None:
        """failures: by default those of a search, see `FailureRow`."""
        self._experiment = experiment
        self._study = study
        self._folder = folder
        self._policy = policy
        self._worker = worker
        self._listeners = listeners
        self._room = room or CheckpointRoom(
            folder, experiment.search.checkpoints, search_policy(experiment).ladder, clock_s=clock_s
        )
        self._outage = outage or Outage(
            folder.root,
            minutes=experiment.search.checkpoints.full_disk_minutes,
            still_wrong=lambda: missing(experiment, study, folder),
            clock_s=clock_s,
        )
        self._spending = Spending(study, experiment.search, gpu_share=worker.gpu_share or 0.0, clock_s=clock_s)
        self.finished = False
        """True once the policy has said that nothing is left to do."""
        self._refusals = Refusals(study)
        self._failures = failures or FailureRow(study, folder)
        self._stopping: str | None = None

    @property
    def stopping(self) -> str | None:
        """Why no segment is handed out any more, though the search is not over; None while there is no such reason."""
        return self._stopping

    def stop(self, why: str) -> None:
        """From now on no segment starts; those that run end with their next epoch. The first reason stands."""
        self._stopping = self._stopping or why

    def next_segment(self) -> Segment | Literal["wait", "finished"]:
        """Decides the next job from the records and hands it out, recorded before it starts."""
        if self._stopping:
            return "finished"
        records = self._study.records()
        job = self._policy.next_job(records, self._spending.budget())
        if isinstance(job, Finished):
            self.finished = True
            return "finished"
        if isinstance(job, Wait) or self._must_wait(records):
            return "finished" if self._stopping else "wait"
        return self._begin(job, records)

    def _must_wait(self, records: tuple[TrialRecord, ...]) -> bool:
        """True where the disk is too full for another segment, or what all need is not there; stops the search where it
        has been so for too long."""
        waits = True
        with self._outage.noticed():
            waits = self._room.is_short(records) or self._outage.lasts()
        if why := self._room.why_stop or self._outage.why_stop:
            self.stop(why)
        return waits or self._stopping is not None

    def _begin(self, job: NewTrial | Repeat | Continue, records: tuple[TrialRecord, ...]) -> Segment:
        match job:
            case NewTrial():
                number = self._new_trial(records)
                stages = self._study.record(number).stage_count
                return self._hand_out(number, self._policy.first_stop(self._study.records(), stages))
            case Repeat():
                number = self._new_repeat(job)
                return self._hand_out(number, self._study.record(number).stage_count - 1)
            case Continue():
                return self._hand_out(job.number, job.stop_after_stage, carried=job.carried)

    def report(self, number: int, report: EpochReport) -> None:
        """Records an epoch, then lets checkpoints go that nothing needs. An epoch recorded before changes nothing."""
        self._room.wrote(number, report)
        self._outage.got_on(number)
        if report.evidence is not None and report.epoch > self._study.record(number).fidelity:
            # Before the record: whatever is recorded has its evidence. After a kill in between it is written again.
            path = self._folder.probabilities(number, report.epoch)
            self._study.wait_for(partial(report.evidence.write, path), path)
            report = replace(report, evidence=None)
        if not self._study.report(number, report):
            with self._outage.noticed():  # what is not deleted now is after a later epoch
                prune_retrained(self._folder.trial(number), self._study.record(number).reports)
            return
        self._spending.save()
        with self._outage.noticed():  # what is not deleted now is after a later epoch
            prune_checkpoints(self._folder.trial(number), self._study.record(number).reports)
            self._room.keep_quota(self._study.records())
        for listener in self._listeners:
            listener.reported(number, report)

    def fell_back(self, number: int, epoch: int) -> None:
        """A worker found checkpoints lost, and goes on after an earlier epoch, or after none."""
        lost = self._study.record(number).reports[epoch:]
        self._study.fall_back(number, epoch)
        self._spending.lost(lost)
        for listener in self._listeners:
            listener.fell_back(number)

    def is_out_of_time(self, number: int) -> bool:
        """True where a running trial should end with the epoch it has just reported; see `Spending.is_out_of_time`."""
        return self._spending.is_out_of_time(number)

    def elapsed_s(self) -> float:
        """Wall-clock seconds of this study over all its runs."""
        return self._spending.elapsed_s()

    def segment_ended(self, number: int, outcome: Outcome) -> None:
        """Moves the trial on: paused at its rung, complete, infeasible, failed, or to be started again."""
        record = self._study.record(number)
        outcome = _checked(outcome, record)
        if not self._interrupted(record, outcome):
            self._over(record, outcome)
        self._outage.ended(number)
        if why := self._failures.ended(number, outcome):
            self.stop(why)
        with self._outage.noticed():  # what is not deleted now is after a later epoch
            remove_unrecorded(self._folder.trial(number), self._study.record(number).reports)
            self._room.keep_quota(self._study.records())
        self._spending.save()
        for listener in self._listeners:
            listener.ended(number)

    def _interrupted(self, record: TrialRecord, outcome: Outcome) -> bool:
        """True where the trial is to be started again, for what ended it may pass or is not its own."""
        number, cause = record.number, outcome.cause
        match outcome.kind:
            case "killed" if may_restart(record, self._experiment.search.max_restarts):
                self._study.interrupt(number, cause or "killed")
            case "out_of_memory" if self._refusals.add(self._study.config(number), outcome):
                self._study.interrupt(number, cause or "out of memory", died=False)
            case "out_of_time":
                self._study.interrupt(number, OUT_OF_TIME, died=False)
            case "unable":  # nor can any other trial
                self._study.interrupt(number, cause or "its process cannot begin", died=False)
                self.stop(f"no trial can be trained here: {cause}")
            case "disk_full":
                self._study.interrupt(number, cause or "no room left on a disk", died=False)
                self._room.refused(number, cause)
            case "unavailable":
                self._study.interrupt(number, cause or "files that every trial needs", died=False)
                self._outage.met(cause or outcome.kind, number)
            case _:
                return False
        return True

    def _over(self, record: TrialRecord, outcome: Outcome) -> None:
        """Its segment reached its rung, or the trial failed for good."""
        if outcome.kind == "ended" and record.next_stage is None:
            self._study.complete(record.number)
        elif outcome.kind == "ended":
            self._study.pause(record.number)
        else:
            self._study.fail(
                record.number,
                outcome.cause or outcome.kind,
                infeasible=self._failures.blames_configuration(outcome),
                traceback=self._output(record.number, record.attempts - 1),
            )

    def _output(self, number: int, attempt: int) -> str | None:
        """What an attempt printed, relative to the study's folder; None where no process of it came to that."""
        name = self._folder.output_name(number, attempt)
        return name if (self._folder.root / name).is_file() else None

    def _new_trial(self, records: tuple[TrialRecord, ...]) -> int:
        new = self._policy.propose(records)
        config = _with_other_seed(self._experiment.bind(new.params), new.repetition)
        return self._study.add_trial(
            new.params, config, space=self._experiment.space, is_baseline=new.is_baseline, fold=new.fold
        )

    def _new_repeat(self, job: Repeat) -> int:
        """The finalist's own configuration, whatever the experiment's would be now, with the repetition's seed."""
        config = _with_other_seed(self._study.config(job.number), job.repetition)
        params = self._study.record(job.number).params
        return self._study.add_trial(params, config, space=self._experiment.space, repeats=job.number)

    def _hand_out(self, number: int, stop_after_stage: int, *, carried: bool = False) -> Segment:
        """Records the segment before it starts."""
        config = self._study.config(number)
        with self._outage.noticed():  # what is not deleted now is after a later epoch
            remove_unrecorded(self._folder.trial(number), self._study.record(number).reports)
        self._outage.began(number)
        attempt = self._study.start_segment(number, stop_after_stage, carried=carried)
        for listener in self._listeners:
            listener.started(number)
        reports = self._study.record(number).reports
        return Segment(
            study=str(self._folder.root),
            number=number,
            attempt=attempt,
            config=config.model_dump(mode="json"),
            resume=reports[-1].checkpoint if reports else None,
            stop_after_stage=stop_after_stage,
            data_root=str(self._experiment.data.root),
            view_seed=self._experiment.search.seed,
            store=self._worker.store,
            threads=self._worker.threads,
            gpu_share=self._worker.gpu_share,
            deterministic=self._worker.deterministic,
            deadline=self._experiment.search.deadline.model_dump(mode="json"),
            split_digest=split_digest(self._study, of_folds=self._study.record(number).fold is not None),
            first_stage=self._study.record(number).next_stage or 0,
            refusals=self._refusals.known(config),
            fold=self._study.record(number).fold,
            needs_best=self._worker.needs_best,
            rank_by=self._study.rank_by,
            averages=self._study.is_recording and self._experiment.record.averages,
        )


def _checked(outcome: Outcome, record: TrialRecord) -> Outcome:
    """The outcome; but a failure where a segment ended before its rung: sent on, it would end so for ever."""
    stage = record.stop_after_stage or 0
    if outcome.kind != "ended" or record.has_ended(stage):
        return outcome
    cause = f"its segment ended after epoch {record.fidelity}, before the end of stage {stage}, to which it was sent"
    return Outcome("failed", cause)


def _with_other_seed(config: TrainConfig, repetition: int) -> TrainConfig:
    """Of the repetition; 0: the configuration's own."""
    return config.model_copy(update={"seed": (config.seed + repetition) % _SEED_END})
