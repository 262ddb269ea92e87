"""The dispatcher of a real study: creates segments for workers, and manages the files beside the journal."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, Protocol

from carcls.config import TrainConfig
from carcls.events import EpochReport
from carcls.splits.k_folds import EVERY_PHOTO
from carcls.training.retention import prune_checkpoints, prune_retrained, remove_unrecorded
from search.driver.budget_use import BudgetUse
from search.driver.disk_room import DiskRoom
from search.driver.dispatch import Dispatcher, Listener, Started
from search.driver.failure_streak import FailureStreak
from search.driver.nodes.gpu_book import GpuBook
from search.driver.nodes.larger_nodes import LargerNodes
from search.driver.nodes.node_book import NodeBook
from search.driver.nodes.node_roster import NodeRoster
from search.driver.nodes.oom_records import OomRecords
from search.driver.outage import Outage, missing
from search.driver.saved_parts import without_saved_death
from search.driver.steering import Steering
from search.experiment.experiment import Experiment
from search.policy.policy import Policy, Proposal, search_policy
from search.policy.records import TrialRecord, TrialState
from search.policy.scheduler import BudgetState, Repeat
from search.study.checked_files import extra_digest, split_digest
from search.study.final_members import trains_on_extra
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker.pseudo_job import pseudo_job
from search.worker.segment import Outcome, Segment

_SEED_END = 2**31
"""Seeds of trainings are below this."""


class Failures(Protocol):
    """What failed trainings mean for the whole run. `FailureStreak` is the implementation for searches."""

    def blames_configuration(self, outcome: Outcome) -> bool:
        """True if the configuration caused the failure. Its trial is then infeasible, and never retried."""

    def ended(self, number: int, outcome: Outcome) -> str | None:
        """Called after a segment's end was recorded. Returns why the run should stop, or None."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of this run that every worker needs."""

    threads: int
    gpu_share: float | None
    store: dict[str, Any]
    """The experiment's store settings, as JSON."""
    deterministic: bool
    requires: dict[str, str] = field(default_factory=dict)
    """What a cluster's node must have, see `search.worker.node_check`; empty on a single machine."""
    study_url: str = ""
    """Where workers get and store the trials' files if they share no folder with the driver; empty if they do."""
    needs_best: bool = False
    """Whether a trial continues from a checkpoint only if the best weights that it names are intact too."""


class StudyDispatcher(Dispatcher[Segment]):
    """Records each change in the study's journal.

    It also manages checkpoints, probabilities, the budget, out-of-memory records, and outages of files that every trial
    needs.
    """

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
        room: DiskRoom | None = None,
        failures: Failures | None = None,
        outage: Outage | None = None,
        roster: NodeRoster | None = None,
    ) -> None:
        """failures: defaults to `FailureStreak`, as in a search. roster: the cluster's nodes, or None for one
        machine."""
        super().__init__(study, policy=policy, max_restarts=experiment.search.max_restarts, listeners=listeners)
        self._experiment = experiment
        self._study = study
        self._folder = folder
        self._worker = worker
        self._room = room or DiskRoom(
            folder, experiment.search.checkpoints, search_policy(experiment).ladder, clock_s=clock_s
        )
        self._outage = outage or Outage(
            folder.root,
            minutes=experiment.search.checkpoints.full_disk_minutes,
            still_wrong=lambda: missing(experiment, study, folder),
            clock_s=clock_s,
        )
        self._budget_use = BudgetUse(study, experiment.search, gpu_share=worker.gpu_share or 0.0, clock_s=clock_s)
        self._oom_memory = OomRecords(study)
        self._failures = failures or FailureStreak(study, folder)
        roster = roster or NodeRoster()
        self._nodes = NodeBook(study, roster)
        wait_s = 60 * experiment.search.resources.larger_node_minutes
        self._larger = LargerNodes(study, roster, self._oom_memory, wait_s=wait_s, clock_s=clock_s)
        self._gpus = GpuBook(study)
        self._steering = Steering(study, folder, experiment)

    def next_segment(self) -> Segment | Literal["wait", "finished"]:
        """See `Dispatcher`. What the user asked for since comes first."""
        self._take_requests()
        return super().next_segment()

    def is_out_of_time(self, number: int) -> bool:
        """See `BudgetUse.is_out_of_time`. True too if the user asked to stop the trial."""
        self._take_requests()
        return self._study.record(number).stop_asked or self._budget_use.is_out_of_time(number)

    def _take_requests(self) -> None:
        for number in self._steering.take():
            for listener in self._listeners:
                listener.ended(number)

    def placed(self, number: int, node_id: str, name: str) -> None:
        """Record the node that a segment runs on."""
        self._nodes.placed(number, node_id, name)

    def granted(self, number: int, gpus: str) -> None:
        """Note the GPUs that a segment has."""
        self._gpus.granted(number, gpus)

    def excluded_gpus(self) -> tuple[str, ...]:
        """See `GpuBook.excluded`."""
        return self._gpus.excluded()

    def elapsed_s(self) -> float:
        """Wall-clock seconds of this study over all its runs."""
        return self._budget_use.elapsed_s()

    def _budget(self) -> BudgetState:
        return self._budget_use.budget()

    def _late_cause(self) -> str:
        return self._budget_use.late_cause()

    def _must_wait(self, records: tuple[TrialRecord, ...]) -> bool:
        """True if the disk is too full for another segment, or files that every trial needs are missing. Stops the run
        if that has lasted too long."""
        waits = True
        with self._outage.caught():
            waits = self._room.is_short(records) or self._outage.is_active()
        if why := self._room.why_stop or self._outage.why_stop:
            self.stop(why)
        return waits or self.stopping is not None

    def _bring(self, number: int) -> None:
        """Fetch what the trial's worker has stored elsewhere, so that this machine's folder has it too."""
        if self._worker.study_url:
            self._study.bring_trial(number)

    def _before_report(self, number: int, report: EpochReport) -> EpochReport:
        self._bring(number)
        self._room.wrote(number, report)
        self._outage.segment_progressed(number)
        self._nodes.progressed(number)
        self._gpus.progressed(number)
        if report.evidence is None or report.epoch <= self._study.record(number).fidelity:
            return report
        # Written before the record, so that every recorded epoch has its evidence. A kill in between is harmless: the
        # epoch is trained again.
        path = self._folder.probabilities(number, report.epoch)
        self._study.write_with_retry(partial(report.evidence.write, path), path)
        return replace(report, evidence=None)

    def _reported_again(self, number: int) -> None:
        with self._outage.caught():  # files not deleted now are deleted after a later epoch
            prune_retrained(self._folder.trial(number), self._study.record(number).reports)

    def _after_report(self, number: int, report: EpochReport) -> None:
        del report
        self._budget_use.save()
        with self._outage.caught():  # files not deleted now are deleted after a later epoch
            prune_checkpoints(self._folder.trial(number), self._study.record(number).reports)
            self._room.keep_quota(self._study.records())

    def _lost(self, reports: tuple[EpochReport, ...]) -> None:
        self._budget_use.lost(reports)

    def _settle(self, record: TrialRecord, outcome: Outcome) -> None:
        """A failure that is not the trial's own only interrupts it."""
        self._bring(record.number)
        outcome = without_saved_death(outcome, record, self._folder.trial(record.number))
        number, cause = record.number, outcome.cause
        if self._gpus.takes_blame(number, outcome):  # another GPU may train it
            self._study.interrupt(number, f"{self._gpus.name(number)}: {cause or outcome.kind}", died=False)
            return
        if self._nodes.takes_blame(record, outcome):  # another node may train it
            self._study.interrupt(number, f"{record.node or 'its node'}: {cause or outcome.kind}", died=False)
            return
        match outcome.kind:
            case "out_of_time" if record.stop_asked and record.next_stage is not None:
                self._study.end_stopped(number)
            case "out_of_memory" if self._oom_memory.add(self._study.config(number), outcome):
                self._study.interrupt(number, cause or "out of memory", died=False)
            case "out_of_memory" if self._larger.take(record, outcome):
                self._study.interrupt(number, f"{record.node}: {cause or 'out of memory'}", died=False)
            case "unable":  # no other trial can be trained either
                self._study.interrupt(number, cause or "its process cannot start", died=False)
                self.stop(f"no trial can be trained here: {cause}")
            case "disk_full":
                self._study.interrupt(number, cause or "no room left on a disk", died=False)
                self._room.refused(number, cause)
            case "unavailable" | "unfit":
                self._study.interrupt(number, cause or "files that every trial needs are missing", died=False)
                self._outage.record_fault(cause or outcome.kind, number)
            case "doubtful":
                super()._settle(record, replace(outcome, kind="failed" if record.restarts else "killed"))
            case _:
                super()._settle(record, outcome)

    def _after_end(self, number: int, outcome: Outcome) -> None:
        self._outage.segment_ended(number)
        if why := self._failures.ended(number, outcome):
            self.stop(why)
        with self._outage.caught():  # files not deleted now are deleted after a later epoch
            record = self._study.record(number)
            continues = record.state is TrialState.WAITING
            remove_unrecorded(self._folder.trial(number), record.reports, continues=continues)
            self._room.keep_quota(self._study.records())
        self._budget_use.save()

    def _blames_configuration(self, outcome: Outcome) -> bool:
        return self._failures.blames_configuration(outcome)

    def _traceback(self, record: TrialRecord) -> str | None:
        """The output file of the latest attempt, or None if no process has written one."""
        name = self._folder.output_name(record.number, record.attempts - 1)
        return name if (self._folder.root / name).is_file() else None

    def _add(self, new: Proposal) -> int:
        own = self._experiment.bind(new.params) if new.config is None else new.config
        space = self._experiment.space if new.config is None else None
        config = _with_other_seed(own, new.repetition)
        return self._study.add_trial(new.params, config, space=space, is_baseline=new.is_baseline, fold=new.fold)

    def _add_repeat(self, job: Repeat) -> int:
        """Uses the finalist's own configuration, even if the experiment has changed since, with the repetition's
        seed."""
        config = _with_other_seed(self._study.config(job.number), job.repetition)
        record = self._study.record(job.number)
        space = None if record.is_of_portfolio else self._experiment.space
        return self._study.add_trial(record.params, config, space=space, repeats=job.number)

    def _offered(self, records: tuple[TrialRecord, ...]) -> tuple[TrialRecord, ...]:
        return self._larger.held_back(records)

    def _before_segment(self, number: int) -> None:
        with self._outage.caught():  # files not deleted now are deleted after a later epoch
            remove_unrecorded(self._folder.trial(number), self._study.record(number).reports)
        self._outage.segment_started(number)
        self._nodes.handed_out(number)
        self._gpus.handed_out(number)

    def _segment(self, started: Started) -> Segment:
        record, config = self._study.record(started.number), self._study.config(started.number)
        extra_at = self._experiment.extra_at
        return Segment(
            study=self._worker.study_url or str(self._folder.root),
            number=started.number,
            attempt=started.attempt,
            config=config.model_dump(mode="json"),
            resume=record.reports[-1].checkpoint if record.reports else None,
            stop_after_stage=started.stop_after_stage,
            data_root=self._experiment.photos_at,
            view_seed=self._experiment.search.seed,
            store=self._worker.store,
            threads=self._worker.threads,
            gpu_share=self._worker.gpu_share,
            deterministic=self._worker.deterministic,
            deadline=self._experiment.search.deadline.model_dump(mode="json"),
            split_digest=split_digest(self._study, of_folds=record.fold not in (None, EVERY_PHOTO)),
            first_stage=record.next_stage or 0,
            oom_records=self._oom_memory.known(config),
            fold=record.fold,
            needs_best=self._worker.needs_best,
            rank_by=self._study.rank_by,
            avoid_gpus=list(self._gpus.excluded()),
            requires=self._worker.requires,
            checkpoint_minutes=self._experiment.search.checkpoints.checkpoint_minutes,
            wait_minutes=self._experiment.search.checkpoints.full_disk_minutes,
            averages=self._study.is_recording and self._experiment.record.averages,
            extra_root=extra_at if extra_at and trains_on_extra(self._study, record.number) else "",
            extra_digest=extra_digest(self._study),
            pseudo=pseudo_job(self._study, self._experiment.data, record.number),
        )


def _with_other_seed(config: TrainConfig, repetition: int) -> TrainConfig:
    """The configuration with the seed of a repetition; 0 keeps its own seed."""
    return config.model_copy(update={"seed": (config.seed + repetition) % _SEED_END})
