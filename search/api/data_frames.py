"""Trials and curves as pandas frames. Pure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.policy.records import TrialRecord
from search.progress.summary import state_name

if TYPE_CHECKING:
    import pandas as pd


def trials_frame(records: Sequence[TrialRecord]) -> "pd.DataFrame":
    """A row for each trial, by number: state, epochs, scores of its best epoch, seconds, cause, parameters.

    Parameters have their names without `train.`; those not active in a trial are missing (NaN).
    """
    import pandas as pd  # noqa: PLC0415 - half a second, only for frames

    rows = [
        {
            "trial": record.number,
            "state": state_name(record),
            "epochs": record.fidelity,
            "accuracy": record.best.val_accuracy if record.best else None,
            "log_loss": record.best.val_log_loss if record.best else None,
            "macro_f1": record.best.val_macro_f1 if record.best else None,
            "seconds": sum(report.seconds.total for report in record.reports),
            "is_baseline": record.is_baseline,
            "repeats": record.repeats,
            "cause": record.cause,
            **{name.removeprefix("train."): value for name, value in record.params.items()},
        }
        for record in records
    ]
    columns = ["trial", "state", "epochs", "accuracy", "log_loss", "macro_f1", "seconds", "is_baseline", "repeats"]
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*columns, "cause"])
    return frame.set_index("trial")


def curves_frame(records: Sequence[TrialRecord]) -> "pd.DataFrame":
    """A row for each epoch of each trial: stage, scores on training and validation photos, learning rate, speed."""
    import pandas as pd  # noqa: PLC0415 - half a second, only for frames

    columns = ["trial", "epoch", "stage", "accuracy", "log_loss", "train_accuracy", "train_loss", "learning_rate"]
    rows = [
        (
            record.number,
            report.epoch,
            report.stage_name,
            report.val_accuracy,
            report.val_log_loss,
            report.train_accuracy,
            report.train_loss,
            report.learning_rate,
            report.image_size,
            report.images_per_s,
            report.seconds.total,
        )
        for record in records
        for report in record.reports
    ]
    return pd.DataFrame(rows, columns=[*columns, "image_size", "images_per_s", "seconds"])
