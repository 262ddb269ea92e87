"""A study for Python: run it, look at it, retrain, submit."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.api import data_frames, figures
from search.api.event_stream import OnEvent, streamed
from search.api.notebook import study_html
from search.api.steps import retrain_study, search_study
from search.driver.callbacks import spent
from search.driver.create import create_study, study_of
from search.driver.steering import ask, new_trial, promotion, take_requests
from search.errors import StudyError
from search.experiment.changes import RESUMABLE, RETRAINABLE
from search.experiment.domains import Value
from search.experiment.experiment import Experiment
from search.experiment.file.paths import is_url
from search.policy.records import TrialRecord
from search.progress.json_lines import EventProgress
from search.progress.live_table import PlainProgress
from search.progress.search_events import Event
from search.progress.summary import leading_trial, summary_lines, winner
from search.study.bucket.places import store_changes, study_at
from search.study.folder import StudyFolder
from search.study.frozen import changes_asked, keep_changes, open_experiment
from search.study.requests import Stop, waiting_requests
from search.study.study import Study as StudyRecords
from search.terminal.console import console, say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from search.study.final_scores import Scores


@dataclass(frozen=True, slots=True)
class Best:
    """The best trial so far: the finals' winner, else the best that finished all stages, else the best epoch."""

    number: int
    accuracy: float
    """Of its best epoch, on the validation photos that chose it."""
    log_loss: float
    params: dict[str, Value]


class Study:
    """A study's folder, such as results/cars. Each look reads what is recorded now, also while a search runs."""

    def __init__(self, folder: str | Path) -> None:
        """folder: or a URL, whose study is brought to this machine once. Raises StudyError if there is no study."""
        root = study_at(folder, checkpoints=True) if is_url(folder) else Path(folder)
        self.folder = StudyFolder(root.absolute())
        self.experiment: Experiment = open_experiment(self.folder)

    def __repr__(self) -> str:
        return f"Study({str(self.folder.root)!r})"

    def _repr_html_(self) -> str:
        return study_html(self._lines(), self._records())

    @property
    def trials(self) -> "pd.DataFrame":
        """A row for each trial: state, epochs, accuracy, log_loss, seconds, cause, and a column for each parameter."""
        return data_frames.trials_frame(self._records())

    @property
    def curves(self) -> "pd.DataFrame":
        """A row for each epoch of each trial."""
        return data_frames.curves_frame(self._records())

    @property
    def best(self) -> Best | None:
        """The best trial so far, or None before the first epoch."""
        record = leading_trial(self._records())
        if record is None or record.best is None:
            return None
        return Best(record.number, record.best.val_accuracy, record.best.val_log_loss, dict(record.params))

    @property
    def is_finished(self) -> bool:
        """True once the search has nothing left to do."""
        return self._study().is_finished

    @property
    def model(self) -> Path:
        """The file of the final model, once `retrain` has written it."""
        return self.folder.model

    def plot_curves(self) -> "Figure":
        """Accuracy per epoch of every trial."""
        return figures.curves_figure(self._records())

    def plot_best(self) -> "Figure":
        """The best accuracy so far against the number of trials."""
        return figures.best_figure(self._records())

    def plot_parameter(self, name: str) -> "Figure":
        """Accuracy against one parameter, such as `head.dropout`; a log axis where its domain is logarithmic.

        Raises KeyError naming the parameters that there are.
        """
        full = name if name.startswith("train.") else f"train.{name}"
        domain = self.experiment.space.domains.get(full)
        return figures.parameter_figure(self._records(), full, log=str(domain).startswith("loguniform"))

    def resume(self, *, on_event: OnEvent | None = None, address: str | None = None, **changes: Any) -> "Study":  # noqa: ANN401
        """Continues the search, or extends a finished one: `study.resume(search__trials=64)`. Returns this study.

        on_event: called for each event on the driver's thread; by default a line is printed for each. changes: keys as
        in `search.load`. Raises StudyError if the search stopped before its end, KeyboardInterrupt if the user stopped
        it, ExperimentError for a change that a study does not allow.
        """
        from search.api.experiments import override_texts  # noqa: PLC0415 - a sibling, needed here only

        experiment = open_experiment(self.folder, override_texts(changes), changeable=RESUMABLE)
        if any(waiting_requests(self.folder)):
            with StudyRecords.open(self.folder.root) as study:
                take_requests(study, self.folder, experiment)
        if not changes and self.is_finished:
            return self
        keep_changes(self.folder, experiment)
        self.experiment = experiment
        known = self._records()
        progress = (
            PlainProgress(console(), self.folder.name, known)
            if on_event is None
            else EventProgress(self.folder.name, on_event, _utc_now, known)
        )
        end = search_study(self.folder, experiment, progress=progress, address=address)
        if end.by_user:
            raise KeyboardInterrupt
        if not end.finished:
            raise StudyError(f"{end.why}: fix that, then call resume() again")
        return self

    def stream(self, *, address: str | None = None, **changes: Any) -> Iterator[Event]:  # noqa: ANN401
        """Continues the search as `resume` does, and yields each event: `for event in study.stream(): ...`.

        Leaving the loop ends the search at its next event; it can be resumed. Raises the errors of `resume`.
        """
        return streamed(lambda on_event: self.resume(on_event=on_event, address=address, **changes))

    def stop(self, trial: int) -> None:
        """Ends a trial after its running epoch, also while another process searches. Raises StudyError."""
        ask(self.folder, self.experiment, Stop(trial))

    def promote(self, trial: int) -> None:
        """Sends a trial one rung further than it goes by itself. Raises StudyError."""
        ask(self.folder, self.experiment, promotion(self._study().record(trial)))

    def add(self, params: Mapping[str, Value | list[int]], *, like: int | None = None) -> None:
        """Adds a trial: the baseline, or trial `like`, with these parameters, such as `{"head.dropout": 0.3}`.

        Raises StudyError, and ExperimentError for a parameter that the study does not search or a value out of range.
        """
        base = self.experiment.baseline if like is None else self._study().record(like).params
        ask(self.folder, self.experiment, new_trial(self.experiment, base, params))

    def retrain(self, trial: int | None = None, *, say: Callable[[str], None] = say, **changes: Any) -> "Scores":  # noqa: ANN401
        """Trains the winner, or another trial, through all stages and writes `model`. Continues an interrupted call.

        say: receives a line for each epoch. changes: keys of `retrain` and `tta`. Returns the scores; a finished
        training returns at once. Raises StudyError.
        """
        from search.api.experiments import override_texts  # noqa: PLC0415 - a sibling, needed here only
        from search.final.retrain import final_config  # noqa: PLC0415 - only for this step

        experiment = open_experiment(self.folder, override_texts(changes), changeable=RETRAINABLE)
        number = winner(self._records(), trial).number
        config = final_config(self.folder, experiment, number)
        return retrain_study(self.folder, experiment, config, trial=number, say=say)

    def submit(self) -> Path:
        """Writes submission.csv with the final model and returns its path. Raises StudyError, SubmissionError."""
        from search.final.submit import submit  # noqa: PLC0415 - TensorFlow

        submit(self.folder, self.experiment, say=say)
        store_changes()
        return self.folder.submission

    def report(self) -> Path:
        """Writes report.html and returns its path."""
        from search.report.page import write_study_report  # noqa: PLC0415 - only for this step

        write_study_report(self.folder, self.experiment)
        store_changes()
        return self.folder.report

    def _study(self) -> StudyRecords:
        return StudyRecords.open(self.folder.root, read_only=True)

    def _records(self) -> tuple[TrialRecord, ...]:
        return self._study().records()

    def _lines(self) -> tuple[str, ...]:
        study = self._study()
        used = spent(self.experiment, trained_s=study.trained_s, elapsed_s=study.elapsed_s, gpus=study.gpu_meter)
        return summary_lines(self.folder.name, study.records(), used)


def run(
    experiment: Experiment, *, on_event: OnEvent | None = None, address: str | None = None, replace: bool = False
) -> Study:
    """Searches, and returns the study. The same call continues an interrupted search and returns a finished one.

    on_event, address: see `Study.resume`. replace: delete an existing study and start over. A script needs its
    `if __name__ == "__main__"`, since processes are started. Raises the errors of `Study.resume`, DataError for photos
    that cannot be used.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # only errors, as far as TensorFlow respects it
    there = None if replace else study_of(experiment)
    if there is None:
        return Study(create_study(experiment, replace=replace).root).resume(on_event=on_event, address=address)
    asked = changes_asked(there, experiment)
    study = Study(there.root)
    if asked:
        keep_changes(there, open_experiment(there, list(asked), changeable=RESUMABLE))
        study = Study(there.root)
    return study.resume(on_event=on_event, address=address)


def stream(experiment: Experiment, *, address: str | None = None, replace: bool = False) -> Iterator[Event]:
    """Searches as `run` does, and yields each event: `for event in search.stream(experiment): ...`.

    The search starts with the loop and ends with it, see `Study.stream`. Raises the errors of `run`.
    """
    return streamed(lambda on_event: run(experiment, on_event=on_event, address=address, replace=replace))


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
