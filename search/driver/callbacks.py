"""Who watches a search: TensorBoard's event files and the terminal, told once the study has recorded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from carcls.events import EpochReport
from carcls.system.atomic import is_full_disk, unreachable_cause
from search.experiment.experiment import Experiment
from search.policy.budget import GpuMeter
from search.policy.failures import may_be_retried
from search.policy.records import TrialRecord, TrialState, trained_s
from search.progress.summary import Spent
from search.progress.tensorboard import TensorBoardWriter
from search.study.study import Study


@contextmanager
def _without_disk_faults() -> Iterator[None]:
    """What TensorBoard was not told for want of room or of the folder, it is told when the search ends or goes on."""
    try:
        yield
    except OSError as error:
        if not is_full_disk(error) and unreachable_cause(error) is None:
            raise


class Progress(Protocol):
    """What shows the search in the terminal."""

    def update(self, records: Sequence[TrialRecord], spent: Spent) -> None:
        """The search as it stands now."""


def spent(experiment: Experiment, records: tuple[TrialRecord, ...], *, elapsed_s: float, gpus: GpuMeter) -> Spent:
    """What the search has used of its budget. `gpus`: where trials have none now, the hours of trials are counted."""
    trained = sum(trained_s(record.reports) for record in records)
    return Spent(
        device_hours=(gpus.used_s(trained) if gpus.share else trained) / 3600,
        device_hours_limit=experiment.search.budget.gpu_hours if gpus.share else None,
        device="GPU" if gpus.share else "trial",
        trials_limit=experiment.search.trials,
        elapsed_s=elapsed_s,
        hours_limit=experiment.search.budget.hours,
    )


class Watch:
    """Passes on what happens; keeps nothing that the study does not hold. Making one brings TensorBoard up to date with
    the study, whose last driver may have been killed between recording and telling, or have met a full disk."""

    def __init__(self, experiment: Experiment, study: Study, events: TensorBoardWriter, progress: Progress) -> None:
        self._experiment = experiment
        self._study = study
        self._events = events
        self._progress = progress
        self._catch_up()

    def started(self, number: int) -> None:
        """A segment was handed out; a trial's first one enters it in TensorBoard's table."""
        record = self._study.record(number)
        if record.attempts == 1:
            with _without_disk_faults():
                self._events.trial_started(number, record.params)
        self._show()

    def reported(self, number: int, report: EpochReport) -> None:
        """An epoch was recorded."""
        with _without_disk_faults():
            self._events.epoch(number, report)
        self._show()

    def fell_back(self, number: int) -> None:
        """Epochs were taken back: its curves end where it goes on."""
        with _without_disk_faults():
            self._events.catch_up(self._study.record(number))
        self._show()

    def ended(self, number: int) -> None:
        """A segment ended; what is complete or failed for good gets its metrics in TensorBoard's table.

        TensorBoard keeps the first end that it is told. What may still be tried again is told when the search ends.
        """
        record = self._study.record(number)
        is_over = record.state in {TrialState.COMPLETE, TrialState.FAIL}
        if is_over and not may_be_retried(record):
            with _without_disk_faults():
                self._events.trial_ended(record)
        self._show()

    def finished(self) -> None:
        """The search is over: what was left paused is pruned, and gets its metrics too."""
        self._catch_up()
        self._show()

    def _catch_up(self) -> None:
        for record in self._study.records():
            with _without_disk_faults():
                self._events.catch_up(record)

    def _show(self) -> None:
        records = self._study.records()
        used = spent(self._experiment, records, elapsed_s=self._study.elapsed_s, gpus=self._study.gpu_meter)
        self._progress.update(records, used)
