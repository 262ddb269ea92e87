"""The final training: trains one configuration on one split or several folds, scores it, and exports one model.

Used by `carsearch retrain STUDY` (the winner) and `carsearch train FILE` (a fixed recipe), both with the file's
`retrain:` overrides.

    command (imports no framework; the only writer of the study and the scores)
      └─ fork server: imports keras once
           ├─ children: train one fold each, from the last checkpoint to the end (or Ray's workers do, see `open_place`)
           └─ child: scores, exports the model
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from dataclasses import replace as replaced

from carcls.backend.gpu_access import only_first_gpus
from carcls.config import TrainConfig
from carcls.splits.k_folds import EVERY_PHOTO
from carcls.system import atomic
from search.driver.callbacks import ProgressListener
from search.driver.interrupts import AskedToEnd, Interrupts
from search.driver.local_executor import LocalExecutor, Main
from search.driver.nodes.oom_records import OomRecords
from search.driver.nodes.place import OpenPlace, Place
from search.driver.study_dispatch import StudyDispatcher, WorkerSettings
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.experiment.search_settings import BudgetSettings, CheckpointSettings
from search.final.epoch_lines import EpochLines, NoProgress
from search.final.extra_choice import add_other_folds, add_second_generation, decide, gain_line, gain_score
from search.final.failure_texts import training_name
from search.final.final_failures import FinalFailures
from search.final.final_slots import final_slots
from search.final.final_study import (
    FixedPolicy,
    add_training,
    check_free,
    concurrent_trainings,
    open_final_study,
    refit_of,
    wants_pseudo,
)
from search.final.refit import refit_config, trial_refit_config
from search.final.score_entry import score_main
from search.final.score_step import ScoreStep
from search.final.trial_weights import check_weights
from search.policy.finals import NO_FINALS
from search.policy.records import TrialState
from search.progress.tensorboard import TensorBoardWriter
from search.study.checked_files import check_files
from search.study.final_lock import retraining
from search.study.final_members import Kind, fold_count, gain_of, is_comparing, members, second_generation
from search.study.final_scores import Scores, read_scores, refit_length_from
from search.study.finals_beside import start_over_command
from search.study.folder import StudyFolder
from search.study.study import Study
from search.terminal.console import warn
from search.terminal.continuing import SAME_COMMAND
from search.worker.entry import child_main
from search.worker.machine_memory import gpu_count

FINISHING = "\ncarsearch: stopping after this epoch; Ctrl-C again stops now (that epoch is then lost)\n"


@dataclass(frozen=True, slots=True)
class ChildMains:
    """Main functions of the children; tests replace them."""

    train: Main = child_main
    score: Callable[..., None] = score_main
    """See `ScoreStep`."""


def final_config(folder: StudyFolder, experiment: Experiment, trial: int | None) -> TrainConfig:
    """A trial's configuration, or that of the fixed recipe if `trial` is None, with the `retrain:` settings.

    For a training on all photos alone, with the epochs of the trial, see `refit_config`. Raises StudyError if `retrain`
    changed more than that.
    """
    if trial is None:
        return experiment.retrain_config(experiment.bind({}))
    study = Study.open(folder.root, read_only=True)
    config = experiment.retrain_config(study.config(trial))
    if experiment.is_refit_alone:
        return trial_refit_config(config, study.config(trial), study.record(trial).reports)
    return config


def retrain(
    folder: StudyFolder,
    experiment: Experiment,
    config: TrainConfig,
    *,
    trial: int | None,
    say: Callable[[str], None],
    mains: ChildMains | None = None,
    open_place: OpenPlace | None = None,
    again: str = SAME_COMMAND,
) -> Scores:
    """Trains (resuming an interrupted call), scores, and exports the model. Returns at once if all is done.

    Raises StudyError if the folder holds another configuration's training, if another process uses it, or if weights
    that are to be scored are gone, StudyError or DiskFullError with the cause if training cannot continue,
    KeyboardInterrupt if the user interrupted, AskedToEnd after SIGTERM. Recorded epochs are always kept.

    open_place: where the trainings run, such as a Ray cluster; None for processes of this machine. Scoring and export
    run on this machine in any case. again: what continues it after an interruption, for messages.
    """
    folder.retrain.mkdir(parents=True, exist_ok=True)
    if (done := _finished(folder, experiment, config)) is not None:
        say(f"{folder.retrain} is already finished; '{start_over_command(folder)}' trains again from scratch")
        return done
    check_weights(folder, experiment, trial)
    with open_final_study(folder, experiment, config) as study:
        mains = mains or ChildMains()
        run = _FinalTraining(folder, experiment, study, say=say, mains=mains, open_place=open_place, again=again)
        try:
            run.train()
            if run.choose("extra"):
                run.train()
            if run.add_second_generation():
                run.train()
            if run.choose("pseudo"):
                run.train()
            if experiment.photos == "all" and run.add_refit():
                run.train()
            scores = run.score(trial)
        except KeyboardInterrupt as end:
            epochs = sum(record.fidelity for record in study.records())
            how = "ended by SIGTERM" if isinstance(end, AskedToEnd) else "interrupted"
            warn(f"{how} after {epochs} epochs: {again} resumes from there")
            raise
        atomic.write_text(folder.scores, json.dumps(asdict(scores), indent=2))
    return scores


def _finished(folder: StudyFolder, experiment: Experiment, config: TrainConfig) -> Scores | None:
    with retraining(folder):
        check_free(folder, experiment, config)
        if not (folder.scores.exists() and folder.model.exists()):
            return None
        try:
            scores = read_scores(folder)
        except StudyError:
            return None  # they are written anew
        # With or without a training on all photos, the folds are the same.
        is_whole = (scores.refit is not None) == (experiment.photos == "all")
        wants_second = wants_pseudo(folder, experiment)
        return scores if is_whole and (scores.pseudo is not None) == wants_second else None


class _FinalTraining:
    """Runs one call of `retrain` on a study from `open_final_study`."""

    def __init__(
        self,
        folder: StudyFolder,
        experiment: Experiment,
        study: Study,
        *,
        say: Callable[[str], None],
        mains: ChildMains,
        open_place: OpenPlace | None,
        again: str,
    ) -> None:
        self._folder = folder
        self._experiment = experiment
        self._study = study
        self._say = say
        self._mains = mains
        self._open_place = open_place or self._this_machine
        self._again = again
        hand_over_s = experiment.search.nodes.hand_over_seconds
        self._interrupts = Interrupts(FINISHING, terminal=_terminal(), hand_over_s=hand_over_s)
        self._slots = final_slots(experiment, concurrent_trainings(study))

    def add_refit(self) -> bool:
        """Adds a training on all photos once those with validation have ended; False if it is there and has ended."""
        study, found = self._study, refit_of(self._study)
        if found is None:
            config = refit_config(study.config(0), [record.reports for record in members(study)])
            found = study.record(add_training(study, config, fold=EVERY_PHOTO))
            planned = ", ".join(f"{stage.name} {stage.epochs}" for stage in config.stages)
            found_by = refit_length_from(fold_count(study), is_measured=True)
            self._say(f"training on all photos, as {found_by} found: {planned} epochs; no validation left")
        self._slots = final_slots(self._experiment, 1)
        return found.state is not TrialState.COMPLETE

    def add_second_generation(self) -> bool:
        """Adds the first fold's training with pseudo-labels, if they are wanted; False if there is nothing to train."""
        if not wants_pseudo(self._folder, self._experiment) or not add_second_generation(self._study):
            return False
        self._slots = final_slots(self._experiment, 1)
        return True

    def choose(self, kind: Kind) -> bool:
        """Decides about extra photos or pseudo-labels once the compared trainings have ended, and adds the other folds;
        False if there is nothing left to train."""
        study, own = self._study, self._folder.retrain_study
        if not (is_comparing(study) if kind == "extra" else second_generation(study) is not None):
            return False
        if gain_of(study, kind) is None:
            decide(study, own, self._experiment, kind)
            score = gain_score(study, own, kind)
            self._say("" if score is None else gain_line(score, kind))
        waiting = add_other_folds(study, kind)
        if waiting:
            self._slots = final_slots(self._experiment, waiting)
        return bool(waiting)

    def train(self) -> None:
        """Runs every training to its end."""
        own, study = self._folder.retrain_study, self._study
        check_files(study, own)
        study.retry_files(self._experiment.search.checkpoints.full_disk_minutes, self._interrupts.raise_if_due)
        self._requeue_trials()
        if study.is_finished:  # only the scores are missing, and they need no place to train
            return
        experiment = _without_limits(self._experiment)
        watch = ProgressListener(
            experiment, study, TensorBoardWriter(own.root, prefix=f"{self._folder.final}-"), NoProgress()
        )
        failures = FinalFailures(
            study,
            own,
            max_restarts=experiment.search.max_restarts,
            say=self._say,
            is_interrupted=lambda: self._interrupts.asked,
            start_over=start_over_command(self._folder),
            again=self._again,
        )
        with self._open_place(self._interrupts) as place:
            dispatcher = StudyDispatcher(
                experiment,
                study,
                own,
                policy=FixedPolicy(),
                # The exported model must be the one that the reports describe.
                worker=replaced(place.worker, needs_best=True),
                listeners=(watch, EpochLines(study, self._say)),
                failures=failures,
            )
            place.executor.run(dispatcher)
        study.interrupt_running()
        if dispatcher.finished:
            study.finish()
        watch.finished()
        self._raise_unless_trained(dispatcher, failures)

    def score(self, trial: int | None) -> Scores:
        """Scores and exports. Call it once all are trained."""
        with only_first_gpus(os.environ, gpu_count()):
            return self._score_step(trial).run()

    def _score_step(self, trial: int | None) -> ScoreStep:
        return ScoreStep(
            self._folder,
            self._experiment,
            self._study,
            trial=trial,
            extra=gain_score(self._study, self._folder.retrain_study, "extra"),
            pseudo=gain_score(self._study, self._folder.retrain_study, "pseudo"),
            slots=self._slots,
            interrupts=self._interrupts,
            say=self._say,
            again=self._again,
            main=self._mains.score,
        )

    def _requeue_trials(self) -> None:
        """Queues trials that ran or failed in an earlier call, and copies what the search knows of memory limits."""
        self._study.interrupt_running()
        for record in self._study.records():
            if record.state is TrialState.FAIL and not self._study.retry(record.number):
                what = training_name(record, fold_count(self._study))
                raise StudyError(
                    f"{what} in {self._folder.retrain}: {record.cause};"
                    f" '{start_over_command(self._folder)}' trains again from scratch"
                )
        parent = self._folder.log.exists()
        searched = OomRecords(Study.open(self._folder.root, read_only=True)).all() if parent else ()
        OomRecords(self._study).reset_tries(searched)

    @contextmanager
    def _this_machine(self, interrupts: Interrupts) -> Iterator[Place]:
        count = fold_count(self._study)
        executor = LocalExecutor(
            self._slots,
            interrupts=interrupts,
            main=self._mains.train,
            whose=lambda segment: training_name(self._study.record(segment.number), count),
        )
        worker = WorkerSettings(
            threads=self._slots.threads,
            gpu_share=self._slots.gpu_share,
            store=self._experiment.store.model_dump(mode="json"),
            deterministic=self._experiment.search.deterministic,
        )
        # All of them: the fork server keeps what it sees when the first child starts, and a later step may use more.
        with only_first_gpus(os.environ, gpu_count()):
            yield Place(executor, worker)

    def _raise_unless_trained(self, dispatcher: StudyDispatcher, failures: FinalFailures) -> None:
        """Raises if a training run did not reach its end, or if the user interrupted."""
        if failures.error is not None:
            raise failures.error
        if self._interrupts.asked:
            raise self._interrupts.reason()
        if not dispatcher.finished:
            raise StudyError(f"{dispatcher.stopping}: fix that, then run {self._again} again")


def _without_limits(experiment: Experiment) -> Experiment:
    """The experiment without the search's budget, finals and quota, which do not apply to a final training."""
    checkpoints = CheckpointSettings(full_disk_minutes=experiment.search.checkpoints.full_disk_minutes)
    changes = {"budget": BudgetSettings(), "finalists": NO_FINALS, "checkpoints": checkpoints}
    return replaced(experiment, search=experiment.search.model_copy(update=changes))


def _terminal() -> int:
    """The descriptor of Python's stderr; descriptor 2 may already be redirected to a file."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError):  # stderr was replaced by an object without a descriptor
        return 2
