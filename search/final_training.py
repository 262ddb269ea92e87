"""The final training in a process of its own, supervised: short of memory, killed or stuck, a fresh one goes on.

command (no framework in it; the one writer of reports, memory.json and scores)
  └─ fork server: imports keras once
       └─ child: trains from the last checkpoint to the end, scores, exports the model
"""

import contextlib
import os
import sys
from collections.abc import Callable
from functools import partial

from carcls.config import TrainConfig
from carcls.errors import DiskFullError
from carcls.events import EpochReport
from search.cluster.interrupts import Interrupts
from search.cluster.memory import has_gpu
from search.cluster.segment import Message, Outcome, Segment, read_fallback, read_notice, read_outcome, read_report
from search.cluster.supervisor import segment_messages
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.final_job import FinalJob, final_main, read_line, read_scores_message
from search.final_log import FinalLog
from search.final_memory import FinalMemory
from search.final_patience import standing, too_often_text
from search.folder import StudyFolder
from search.logs import get_logger
from search.policy.memory import Place, Refusal, has_next, micro_batch, smallest_micro_batch
from search.scores import Scores
from search.terminal import warn

FINISHING = "\ncarsearch: stopping after this epoch; Ctrl-C again stops now (that epoch is then lost)\n"
_NO_TRIAL = -1

_log = get_logger(__name__)


class FinalTraining:
    """Children, one after the other, until there are scores."""

    def __init__(
        self,
        folder: StudyFolder,
        experiment: Experiment,
        config: TrainConfig,
        *,
        trial: int | None,
        say: Callable[[str], None],
        main: Callable[..., None] = final_main,
    ) -> None:
        """main: the child's main function, see `final_main`."""
        self._folder = folder
        self._experiment = experiment
        self._config = config
        self._trial = trial
        self._say = say
        self._main = main
        self._log = FinalLog(folder, config)
        self._memory = FinalMemory(folder, config)
        self._interrupts = Interrupts(FINISHING, terminal=_terminal())
        self._scores: Scores | None = None
        self._deaths = 0
        """Of the child's process, since its last epoch."""

    def run(self) -> Scores:
        """Trains what is left to train, and scores. Raises StudyError and DiskFullError with the cause where it cannot
        go on, KeyboardInterrupt where its user ended it; every epoch that was told is kept."""
        try:
            with self._interrupts.heard(lambda: None):
                return self._run()
        except KeyboardInterrupt:
            warn(f"interrupted after {len(self._log.reports)} epochs: the same command goes on from there")
            raise

    def _run(self) -> Scores:
        while True:
            outcome = self._one_child()
            if outcome.kind == "ended" and self._scores is not None:
                return self._scores
            if outcome.refusal is not None:
                self._memory.add(Refusal.from_json(outcome.refusal))
            self._deaths += outcome.kind == "killed"
            line = line_or_error(
                outcome,
                self._config,
                deaths=self._deaths,
                max_restarts=self._experiment.search.max_restarts,
                what=f"the final training in {self._folder.retrain}, {standing(self._log.reports, self._config)}",
            )
            if self._interrupts.asked:  # the epoch that was to end will not
                raise KeyboardInterrupt
            self._say(line)

    def _one_child(self) -> Outcome:
        job = FinalJob(self._experiment, self._trial, self._log.reports)
        messages = segment_messages(
            self._segment(),
            partial(self._main, job),
            whose="the final training",
            raise_if_due=self._raise_if_due,
        )
        with contextlib.closing(messages):
            for message in messages:
                self._hear(message)
                outcome = read_outcome(message)
                if outcome is not None:
                    return outcome
        raise StudyError(f"the final training in {self._folder.retrain} ended without a word: call it again")

    def _hear(self, message: Message) -> None:
        report, fallback, notice = read_report(message), read_fallback(message), read_notice(message)
        line = read_line(message)
        is_last = self._interrupts.asked  # before: asked while this epoch is recorded, the next one is under way
        if report is not None:
            self._deaths = 0
            self._log.add(report)
            self._say(epoch_line(report, self._config.total_epochs))
            if is_last:
                raise KeyboardInterrupt
        if line is not None:
            self._say(line)
        if fallback is not None:
            self._log.forget_beyond(fallback.epoch)
        if notice is not None:
            _log.log(notice.level, "%s", notice.text)
        self._scores = read_scores_message(message) or self._scores

    def _raise_if_due(self) -> None:
        self._interrupts.raise_if_due()
        if self._interrupts.asked and self._log.is_done:  # no epoch is under way
            raise KeyboardInterrupt

    def _segment(self) -> Segment:
        reports, last_stage = self._log.reports, len(self._config.stages) - 1
        return Segment(
            study=str(self._folder.root),
            number=_NO_TRIAL,
            attempt=len(list(self._folder.retrain.glob("attempt-*"))),
            config=self._config.model_dump(mode="json"),
            resume=reports[-1].checkpoint if reports else None,
            stop_after_stage=last_stage,
            data_root=str(self._experiment.data.root),
            view_seed=self._experiment.search.seed,
            store=self._experiment.store.model_dump(mode="json"),
            threads=len(os.sched_getaffinity(0)),
            # A whole one, as a trial has it that asks for one: what had no room there has none here.
            gpu_share=1.0 if has_gpu() else None,
            deterministic=self._experiment.search.deterministic,
            deadline=self._experiment.search.deadline.model_dump(mode="json"),
            first_stage=min(reports[-1].stage + reports[-1].stage_ended, last_stage) if reports else 0,
            refusals=self._memory.known,
        )


def line_or_error(outcome: Outcome, config: TrainConfig, *, deaths: int, max_restarts: int, what: str) -> str:
    """After a child's end, for its user: the line with which a fresh child goes on. Pure.

    deaths: of children since the last epoch, this one counted. what: the training, for errors. Raises StudyError where
    no child would do better, DiskFullError for a full disk.
    """
    match outcome.kind:
        case "out_of_memory" if outcome.refusal is not None:
            refusal = Refusal.from_json(outcome.refusal)
            if not has_next(config, refusal):
                raise StudyError(no_room_text(refusal.place, outcome, config, what))
            stage = outcome.stage or 0
            next_try = micro_batch([refusal], config, stage, refusal.place.device) or config.batch_size
            is_same = next_try >= refusal.photos
            return (
                f"no room for {refusal.photos} photos at once in stage {config.stages[stage].name!r}: going on from the"
                f" last checkpoint with {'as many once more' if is_same else f'at most {next_try}'}"
            )
        case "killed" if deaths <= max_restarts:
            return f"{outcome.cause}: going on from the last checkpoint"
        case "killed":
            raise StudyError(too_often_text(outcome, what, deaths=deaths, max_restarts=max_restarts))
        case "disk_full":
            raise DiskFullError(outcome.cause or what)
        case _:
            raise StudyError(outcome.cause or f"{what} {outcome.kind} without a cause")


def no_room_text(place: Place, outcome: Outcome, config: TrainConfig, what: str) -> str:
    """What, where, and what to do, where not even the fewest photos have room. Pure."""
    stage = config.stages[outcome.stage or 0].name
    cause = (outcome.cause or "").partition(";")[0]  # what follows there is advice for those who have room to lower
    return (
        f"{what}: no room for stage {stage!r}: not even {smallest_micro_batch(config)} photos at once fit at"
        f" {place.image_size} px through {place.backbone} on {place.device} ({cause}). Begin it anew, by"
        " --replace, with a smaller image size or backbone (--set retrain.image_size=... for 'carsearch retrain', the"
        " file's train section for 'carsearch train'), or call the same command again where there is more memory: every"
        " finished epoch is kept"
    )


def epoch_line(report: EpochReport, total_epochs: int) -> str:
    """One epoch in one line of the terminal."""
    return (
        f"epoch {report.epoch:>3}/{total_epochs}  {report.stage_name:<8} {report.image_size} px"
        f"  train loss {report.train_loss:.3f} acc {report.train_accuracy:.3f}"
        f"  validation loss {report.val_log_loss:.3f} acc {report.val_accuracy:.3f}"
        f"  {report.seconds.total:.1f} s"
    )


def _terminal() -> int:
    """Where Python's own messages go: stderr's own descriptor may lead to a file by now."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError):  # replaced by something that is no file
        return 2
