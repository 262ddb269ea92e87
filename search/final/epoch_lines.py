"""What the terminal shows during a final training."""

import math
from collections.abc import Callable, Sequence

from carcls.events import EpochReport
from carcls.splits.k_folds import EVERY_PHOTO
from search.policy.records import TrialRecord
from search.progress.summary import Spent
from search.study.final_members import fold_count, trains_on_extra, trains_on_pseudo
from search.study.study import Study


class EpochLines:
    """Prints a line for each epoch; a listener of the dispatcher."""

    def __init__(self, study: Study, say: Callable[[str], None]) -> None:
        self._study = study
        self._say = say

    def started(self, number: int) -> None:
        """Prints nothing."""

    def reported(self, number: int, report: EpochReport) -> None:
        """Prints the epoch."""
        record = self._study.record(number)
        fold = "" if record.fold is None else f"fold {record.fold + 1}/{fold_count(self._study)}  "
        if record.fold == EVERY_PHOTO:
            fold = "all photos  "
        extra = "extra photos  " if trains_on_extra(self._study, number) else ""
        extra += "pseudo-labels  " if trains_on_pseudo(self._study, number) else ""
        self._say(fold + extra + epoch_line(report, self._study.config(number).total_epochs))

    def fell_back(self, number: int) -> None:
        """Prints nothing: the worker's notice names the lost checkpoints."""

    def ended(self, number: int) -> None:
        """Prints nothing: see `FinalFailures`."""


class NoProgress:
    """A progress display that shows nothing, in place of a search's table of trials."""

    def update(self, records: Sequence[TrialRecord], spent: Spent) -> None:
        """Shows nothing."""


def epoch_line(report: EpochReport, total_epochs: int) -> str:
    """One epoch as one line. Pure."""
    return (
        f"epoch {report.epoch:>3}/{total_epochs}  {report.stage_name:<8} {report.image_size} px"
        f"  train loss {report.train_loss:.3f} acc {report.train_accuracy:.3f}"
        f"  {_validation_text(report)}"
        f"  {report.seconds.total:.1f} s"
    )


def _validation_text(report: EpochReport) -> str:
    if math.isnan(report.val_accuracy):  # every photo trains
        return "no validation"
    return f"validation loss {report.val_log_loss:.3f} acc {report.val_accuracy:.3f}"
