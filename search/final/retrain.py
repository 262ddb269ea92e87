"""The final training: one configuration through all its stages, on one split or on several folds, then scored plain and
with TTA, then one model file.

Serves `carsearch retrain STUDY` (the winner with the file's `retrain:` overrides) and `carsearch train FILE` alike.

    command (no framework in it; the one writer of the study and the scores)
      └─ fork server: imports keras once
           ├─ children: train, a fold each, from the last checkpoint to the end
           └─ child: scores, exports the model
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from dataclasses import replace as replaced

from carcls.config import TrainConfig
from carcls.system import atomic
from search.driver.callbacks import ProgressListener
from search.driver.executor import Executor
from search.driver.interrupts import Interrupts
from search.driver.local_executor import LocalExecutor, Main
from search.driver.oom_memory import OomMemory
from search.driver.slots import Slots, slots_for
from search.driver.study_dispatch import StudyDispatcher, WorkerSettings
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.experiment.settings import BudgetSettings, CheckpointSettings
from search.final.ends import FinalEnds, named
from search.final.lines import EpochLines, NoProgress
from search.final.score_entry import score_main
from search.final.score_step import ScoreStep
from search.final.trainings import GivenPolicy, check_place, open_final
from search.policy.finals import NO_FINALS
from search.policy.records import TrialState
from search.progress.tensorboard import TensorBoardWriter
from search.study.checked_files import check_files
from search.study.final_lock import retraining
from search.study.final_scores import Scores, read_scores
from search.study.folder import StudyFolder
from search.study.study import Study
from search.terminal.console import warn
from search.worker.entry import child_main
from search.worker.machine_memory import gpu_count

FINISHING = "\ncarsearch: stopping after this epoch; Ctrl-C again stops now (that epoch is then lost)\n"


@dataclass(frozen=True, slots=True)
class Mains:
    """Main functions of the children; tests have others."""

    train: Main = child_main
    score: Callable[..., None] = score_main
    """See `ScoreStep`."""


def final_config(folder: StudyFolder, experiment: Experiment, trial: int | None) -> TrainConfig:
    """What the final training runs: a trial's configuration with the `retrain:` settings, or the fixed recipe."""
    if trial is None:
        return experiment.bind({})
    return experiment.retrain_config(Study.open(folder.root, read_only=True).config(trial))


def retrain(
    folder: StudyFolder,
    experiment: Experiment,
    config: TrainConfig,
    *,
    trial: int | None,
    say: Callable[[str], None],
    mains: Mains | None = None,
) -> Scores:
    """Trains, or goes on where an earlier call was cut off; scores; exports. Returns at once where all is done.

    Raises StudyError where another configuration's training stands there or another process is at work on it,
    StudyError and DiskFullError with the cause where it cannot go on, KeyboardInterrupt where its user ended it; every
    epoch that was recorded is kept.
    """
    folder.retrain.mkdir(parents=True, exist_ok=True)
    if (done := _finished(folder, experiment, config)) is not None:
        say(f"{folder.retrain} is finished already; '--replace' trains anew")
        return done
    with open_final(folder, experiment, config) as study:
        run = _FinalTraining(folder, experiment, study, say, mains or Mains())
        try:
            run.train()
            scores = run.score(trial)
        except KeyboardInterrupt:
            epochs = sum(record.fidelity for record in study.records())
            warn(f"interrupted after {epochs} epochs: the same command goes on from there")
            raise
        atomic.write_text(folder.scores, json.dumps(asdict(scores), indent=2))
    return scores


def _finished(folder: StudyFolder, experiment: Experiment, config: TrainConfig) -> Scores | None:
    with retraining(folder):
        check_place(folder, experiment, config)
        return read_scores(folder.scores) if folder.scores.exists() and folder.model.exists() else None


class _FinalTraining:
    """One call's work on a study that `open_final` has opened."""

    def __init__(
        self, folder: StudyFolder, experiment: Experiment, study: Study, say: Callable[[str], None], mains: Mains
    ) -> None:
        self._folder = folder
        self._experiment = experiment
        self._study = study
        self._say = say
        self._mains = mains
        self._interrupts = Interrupts(FINISHING, terminal=_terminal())
        self._slots = self._share_out()

    def train(self) -> None:
        """Every training to its end."""
        own, study = self._folder.retrain_study, self._study
        check_files(study, own)
        study.retry_files(self._experiment.search.checkpoints.full_disk_minutes, self._interrupts.raise_if_due)
        self._begin_again()
        experiment = _without_limits(self._experiment)
        watch = ProgressListener(experiment, study, TensorBoardWriter(own.root, prefix="retrain-"), NoProgress())
        ends = FinalEnds(
            study,
            own,
            max_restarts=experiment.search.max_restarts,
            say=self._say,
            is_interrupted=lambda: self._interrupts.asked,
        )
        dispatcher = StudyDispatcher(
            experiment,
            study,
            own,
            policy=GivenPolicy(),
            worker=self._worker(),
            listeners=(watch, EpochLines(study, self._say)),
            failures=ends,
        )
        self._executor().run(dispatcher)
        study.interrupt_running()
        if dispatcher.finished:
            study.finish()
        watch.finished()
        self._raise_if_not(dispatcher, ends)

    def score(self, trial: int | None) -> Scores:
        """Once all are trained."""
        step = ScoreStep(
            self._folder,
            self._experiment,
            self._study,
            trial=trial,
            slots=self._slots,
            interrupts=self._interrupts,
            say=self._say,
            main=self._mains.score,
        )
        return step.run()

    def _share_out(self) -> Slots:
        return slots_for(
            len(self._study.records()),
            cores=len(os.sched_getaffinity(0)),
            gpus=gpu_count(),
            cpus_per_trial=self._experiment.search.resources.cpus_per_trial,
        )

    def _begin_again(self) -> None:
        """What ran or failed in an earlier call waits again; what the search knows of memory is known here too."""
        self._study.interrupt_running()
        for record in self._study.records():
            if record.state is TrialState.FAIL and not self._study.retry(record.number):
                what = named(record, len(self._study.records()))
                raise StudyError(f"{what} in {self._folder.retrain}: {record.cause}; '--replace' trains anew")
        parent = self._folder.log.exists()
        searched = OomMemory(Study.open(self._folder.root, read_only=True)).all() if parent else ()
        OomMemory(self._study).reset_tries(searched)

    def _worker(self) -> WorkerSettings:
        return WorkerSettings(
            threads=self._slots.threads,
            gpu_share=self._slots.gpu_share,
            store=self._experiment.store.model_dump(mode="json"),
            deterministic=self._experiment.search.deterministic,
            needs_best=True,  # the model shall be the one that the reports tell of
        )

    def _executor(self) -> Executor:
        count = len(self._study.records())
        return LocalExecutor(
            self._slots,
            interrupts=self._interrupts,
            main=self._mains.train,
            whose=lambda segment: named(self._study.record(segment.number), count),
        )

    def _raise_if_not(self, dispatcher: StudyDispatcher, ends: FinalEnds) -> None:
        """Raises where not every training came to its end, or its user has asked for one."""
        if ends.error is not None:
            raise ends.error
        if self._interrupts.asked:
            raise KeyboardInterrupt
        if not dispatcher.finished:
            raise StudyError(f"{dispatcher.stopping}: mend that, then call the same command again")


def _without_limits(experiment: Experiment) -> Experiment:
    """A final training ends when it is trained: a search's budget, finals and quota are not its own."""
    checkpoints = CheckpointSettings(full_disk_minutes=experiment.search.checkpoints.full_disk_minutes)
    changes = {"budget": BudgetSettings(), "finalists": NO_FINALS, "checkpoints": checkpoints}
    return replaced(experiment, search=experiment.search.model_copy(update=changes))


def _terminal() -> int:
    """Where Python's own messages go: stderr's own descriptor may lead to a file by now."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError):  # replaced by something that is no file
        return 2
