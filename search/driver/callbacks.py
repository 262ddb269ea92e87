"""Shows a search in TensorBoard and the terminal, after the study has recorded each change."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from carcls.events import EpochReport
from carcls.system.atomic import is_full_disk, unreachable_cause
from search.experiment.experiment import Experiment
from search.policy.budget import GpuMeter
from search.policy.failures import may_be_retried
from search.policy.records import TrialRecord, TrialState
from search.progress.summary import Spent
from search.progress.tensorboard import TensorBoardWriter
from search.study.study import Study


@contextmanager
def _ignoring_disk_faults() -> Iterator[None]:
    """Ignores a full disk and a missing folder: TensorBoard catches up when the search ends or resumes."""
    try:
        yield
    except OSError as error:
        if not is_full_disk(error) and unreachable_cause(error) is None:
            raise


class Progress(Protocol):
    """Shows the search in the terminal."""

    def update(self, records: Sequence[TrialRecord], spent: Spent) -> None:
        """Show the current state of the search."""


def spent(experiment: Experiment, *, trained_s: float, elapsed_s: float, gpus: GpuMeter) -> Spent:
    """How much of its budget the search has used. If trials have no GPU share in `gpus`, it counts trial hours.

    trained_s: seconds that workers spent on all recorded epochs.
    """
    return Spent(
        device_hours=(gpus.used_s(trained_s) if gpus.share else trained_s) / 3600,
        device_hours_limit=experiment.search.budget.gpu_hours if gpus.share else None,
        device="GPU" if gpus.share else "trial",
        trials_limit=experiment.search.trials,
        elapsed_s=elapsed_s,
        hours_limit=experiment.search.budget.hours,
    )


def stage_epochs(study: Study, number: int) -> tuple[int, ...]:
    """Planned epochs of each stage of a trial."""
    return tuple(stage.epochs for stage in study.config(number).stages)


class ProgressListener:
    """Passes each event to TensorBoard and the terminal. Holds no state beyond the study's.

    Creating one brings TensorBoard up to date: the last driver may have been killed after recording a change, or may
    have met a full disk.
    """

    def __init__(self, experiment: Experiment, study: Study, events: TensorBoardWriter, progress: Progress) -> None:
        self._experiment = experiment
        self._study = study
        self._events = events
        self._progress = progress
        self._planned: dict[int, tuple[int, ...]] = {}
        self._catch_up()

    def started(self, number: int) -> None:
        """A segment was handed out. A trial's first segment adds it to TensorBoard's table."""
        record = self._study.record(number)
        if number not in self._planned:
            self._planned[number] = stage_epochs(self._study, number)
        if record.attempts == 1:
            with _ignoring_disk_faults():
                self._events.trial_started(number, record.params)
        self._show()

    def reported(self, number: int, report: EpochReport) -> None:
        """An epoch was recorded."""
        with _ignoring_disk_faults():
            self._events.epoch(number, report)
        self._show()

    def fell_back(self, number: int) -> None:
        """Epochs were dropped: the trial's curves end where it continues."""
        with _ignoring_disk_faults():
            self._events.catch_up(self._study.record(number))
        self._show()

    def ended(self, number: int) -> None:
        """A segment ended. A trial that is complete, stopped or infeasible gets its metrics in TensorBoard's table.

        TensorBoard keeps the first result of a trial, so a failure that may still be retried is written only when the
        search ends.
        """
        record = self._study.record(number)
        is_over = record.state in {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
        if is_over and not may_be_retried(record):
            with _ignoring_disk_faults():
                self._events.trial_ended(record)
        self._show()

    def finished(self) -> None:
        """The search is over: trials left paused are pruned, and get their metrics too."""
        self._catch_up()
        self._show()

    def _catch_up(self) -> None:
        for record in self._study.records():
            with _ignoring_disk_faults():
                self._events.catch_up(record)

    def _show(self) -> None:
        study = self._study
        used = spent(self._experiment, trained_s=study.trained_s, elapsed_s=study.elapsed_s, gpus=study.gpu_meter)
        self._progress.update(study.records(), replace(used, planned=self._planned))
