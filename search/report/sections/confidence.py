"""Confidence intervals of validation accuracies."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt

from carcls.scoring.expectation import Interval, wilson
from search.policy.records import TrialRecord

__all__ = ["Interval", "Score", "overlap", "repeated_gain", "trial_score", "wilson"]

_UPPER_QUANTILE = 0.975
"""Of two-sided 95 % intervals."""


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of a trial's best epoch."""

    accuracy: float
    interval: Interval | None
    """95 % interval of the accuracy, or None if the number of photos is unknown."""
    log_loss: float
    macro_f1: float
    epoch: int
    stage_name: str
    image_size: int | str
    holdout_accuracy: float | None = None
    """Accuracy on the holdout at that epoch, or None without a holdout."""
    holdout_interval: Interval | None = None
    """95 % interval of the holdout accuracy, or None if it or the number of photos is unknown."""


def trial_score(record: TrialRecord, photos: int | None, holdout_photos: int | None = None) -> Score | None:
    """Scores of the trial's best epoch, with intervals if the numbers of photos are given; None without an epoch."""
    best = record.best
    if best is None:
        return None
    held_out = best.holdout_accuracy
    return Score(
        accuracy=best.val_accuracy,
        interval=wilson(best.val_accuracy, photos) if photos else None,
        log_loss=best.val_log_loss,
        macro_f1=best.val_macro_f1,
        epoch=best.epoch,
        stage_name=best.stage_name,
        image_size=best.image_size,
        holdout_accuracy=held_out,
        holdout_interval=wilson(held_out, holdout_photos) if held_out is not None and holdout_photos else None,
    )


def repeated_gain(table: Sequence[Sequence[float]], one: int, other: int) -> tuple[float, Interval | None]:
    """The difference of the means of rows `one` and `other`, and its 95 % interval, or None if it cannot be estimated.

    table: accuracies, with a row for each trial and a column for each repetition, at least one. Columns are blocks
    (Fisher's randomised block design): effects of a repetition on all trials are no noise, and residuals are pooled
    over all rows. With two rows this is the paired t-test. The interval covers retraining on the same photos.
    """
    rows, columns = len(table), len(table[0])
    means = [fsum(row) / columns for row in table]
    gain = means[one] - means[other]
    freedom = (rows - 1) * (columns - 1)
    if freedom == 0:
        return gain, None
    # Imported here because it takes a tenth of a second, and only reports with finals need it.
    from scipy.special import stdtrit  # noqa: PLC0415

    blocks = [fsum(row[column] for row in table) / rows for column in range(columns)]
    centre = fsum(means) / rows
    rest = fsum(
        (row[column] - mean - blocks[column] + centre) ** 2
        for row, mean in zip(table, means, strict=True)
        for column in range(columns)
    )
    half = float(stdtrit(freedom, _UPPER_QUANTILE)) * sqrt(2.0 * rest / freedom / columns)
    return gain, (gain - half, gain + half)


def overlap(one: Interval, other: Interval) -> bool:
    """True if the intervals overlap."""
    return one[0] <= other[1] and other[0] <= one[1]
