"""The last step of a final training: a child process scores it and exports one model."""

import contextlib
from collections.abc import Callable
from functools import partial

from carcls.config import TrainConfig
from search.driver.interrupts import Interrupts
from search.driver.nodes.oom_records import OomRecords
from search.driver.nodes.slots import Slots
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.final.failure_texts import retry_text
from search.final.final_failures import peak_key
from search.final.final_study import refit_of
from search.final.score_entry import score_main
from search.final.score_job import ScoreJob, scores_of
from search.study.checked_files import split_digest
from search.study.final_members import members
from search.study.final_scores import ExtraScore, Scores
from search.study.finals_beside import start_over_command
from search.study.folder import StudyFolder
from search.study.study import Study
from search.terminal.continuing import SAME_COMMAND
from search.terminal.logs import get_logger
from search.worker.segment import Notice, Outcome, Result, Segment
from search.worker.supervisor import segment_messages

_log = get_logger(__name__)


class ScoreStep:
    """Starts children one after another until one returns scores, replacing those killed, stuck or out of memory."""

    def __init__(
        self,
        folder: StudyFolder,
        experiment: Experiment,
        study: Study,
        *,
        trial: int | None,
        extra: ExtraScore | None = None,
        pseudo: ExtraScore | None = None,
        slots: Slots,
        interrupts: Interrupts,
        say: Callable[[str], None],
        again: str = SAME_COMMAND,
        main: Callable[..., None] = score_main,
    ) -> None:
        """study: the final training's, with every trial complete. extra, pseudo: what extra and
        pseudo-labelled photos gained, if there are any. again: see `retry_text`.
        main: same signature as `score_main`."""
        self._experiment = experiment
        self._config: TrainConfig = study.config(0)
        self._oom_memory = OomRecords(study)
        # One that an earlier call made stays in the study, where `photos: all` finds it again.
        refit = refit_of(study) if experiment.photos == "all" else None
        folds = members(study)
        self._split_digest = split_digest(study, of_folds=len(folds) > 1)
        self._rank_by = study.rank_by
        records = study.records()
        peaks = [int(study.get_value(peak_key(record.number)) or 0) for record in records]
        reports = [record.reports for record in folds]
        if not reports and trial is not None:  # the search's trial takes the place of the folds
            reports = [Study.open(folder.root, read_only=True).record(trial).reports]
        self._job = ScoreJob(
            str(folder.root),
            experiment,
            trial,
            tuple(reports),
            max(peaks),
            refit=refit.reports if refit else (),
            refit_number=refit.number if refit else 0,
            numbers=tuple(record.number for record in folds),
            extra=extra,
            pseudo=pseudo,
            final=folder.final,
        )
        self._main = partial(main, self._job)
        self._folder = folder
        self._slots = slots
        self._interrupts = interrupts
        self._say = say
        self._again = again

    def run(self) -> Scores:
        """The scores. Raises StudyError or DiskFullError with the cause if scoring cannot continue, KeyboardInterrupt
        if the user interrupted."""
        deaths = 0
        what = f"the final training in {self._folder.retrain}, being scored after its last epoch"
        start_over = start_over_command(self._folder)
        with self._interrupts.listening(lambda: None):
            while True:
                outcome, scores = self._one_child()
                if outcome.kind == "ended" and scores is not None:
                    return scores
                self._raise_if_asked()
                self._oom_memory.add(self._config, outcome)
                deaths += outcome.kind in ("killed", "doubtful")
                limit = self._experiment.search.max_restarts
                line = retry_text(
                    outcome,
                    self._config,
                    deaths=deaths,
                    max_restarts=limit,
                    what=what,
                    start_over=start_over,
                    again=self._again,
                )
                self._say(line)

    def _one_child(self) -> tuple[Outcome, Scores | None]:
        scores: Scores | None = None
        messages = segment_messages(
            self._segment(), self._main, whose="the final training", raise_if_due=self._raise_if_asked
        )
        with contextlib.closing(messages):
            for message in messages:
                match message:
                    case Notice():
                        _log.log(message.level, "%s", message.text)
                    case Result():
                        scores = scores_of(message)
                    case Outcome():
                        return message.with_user_cause(f"the traceback is in {self._folder.retrain_output}"), scores
        raise StudyError(
            f"the process that scores {self._folder.retrain} ended without an outcome: run {self._again} again"
        )

    def _raise_if_asked(self) -> None:
        """Stops at once: no epoch is running that should end first."""
        if self._interrupts.asked:
            raise self._interrupts.reason()

    def _segment(self) -> Segment:
        last_stage = len(self._config.stages) - 1
        return Segment(
            study=str(self._folder.retrain),
            number=0,
            attempt=0,
            config=self._config.model_dump(mode="json"),
            resume=None,
            stop_after_stage=last_stage,
            data_root=self._experiment.photos_at,
            view_seed=self._experiment.search.seed,
            store=self._experiment.store.model_dump(mode="json"),
            threads=self._slots.threads * len(self._slots.gpus),
            gpu_share=self._slots.gpu_share,
            deterministic=self._experiment.search.deterministic,
            deadline=self._experiment.search.deadline.model_dump(mode="json"),
            split_digest=self._split_digest,
            rank_by=self._rank_by,
            # An out-of-memory error while scoring counts against the last stage.
            first_stage=last_stage,
            oom_records=self._oom_memory.known(self._config),
            gpu=self._slots.gpus[0],
        )
