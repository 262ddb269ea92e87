"""How sure a validation accuracy is."""

from dataclasses import dataclass
from math import sqrt

from search.policy.records import TrialRecord

Interval = tuple[float, float]

_Z_95 = 1.959964
"""Two-sided 95 % point of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Score:
    """A trial's best epoch."""

    accuracy: float
    interval: Interval | None
    """95 % of the accuracy; None where the number of photos is not known."""
    log_loss: float
    macro_f1: float
    epoch: int
    stage_name: str
    image_size: int
    judge_accuracy: float | None = None
    """On photos that chose nothing, at that epoch; None where the study holds none back."""


def trial_score(record: TrialRecord, photos: int | None) -> Score | None:
    """The trial's best epoch, its interval by the number of validation photos; None without a finite epoch."""
    best = record.best
    if best is None:
        return None
    return Score(
        accuracy=best.val_accuracy,
        interval=wilson_interval(best.val_accuracy, photos) if photos else None,
        log_loss=best.val_log_loss,
        macro_f1=best.val_macro_f1,
        epoch=best.epoch,
        stage_name=best.stage_name,
        image_size=best.image_size,
        judge_accuracy=best.judge_accuracy,
    )


def wilson_interval(share: float, count: int) -> Interval:
    """95 % interval of a share that was seen in `count` > 0 independent draws (Wilson 1927); within 0..1.

    Unlike the textbook interval it stays sensible at a share of 1 and for few draws.
    """
    spread = _Z_95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # Rounding must not push a share of 0 or 1 out of its own interval.
    return (max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def overlap(one: Interval, other: Interval) -> bool:
    """True where the two have a point in common."""
    return one[0] <= other[1] and other[0] <= one[1]
