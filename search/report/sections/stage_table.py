"""The page's section about stages: the accuracy each one gained, and its cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from carcls.frames import named_area
from search.policy.records import TrialRecord, trained_s


@dataclass(frozen=True, slots=True)
class StageRow:
    """Gain and cost of one stage, for one trial or pooled over several."""

    stage: int
    names: str
    trials: int
    epochs: int
    accuracy: float
    """Best within the stage; pooled: the median of the trials' bests."""
    gained: float | None
    """Difference to the best of earlier stages; pooled: the median. None for the first stage."""
    seconds: float
    """Building, training and validating; pooled: the sum."""
    images_per_s: float
    """Median over epochs."""
    trainable_parameters: tuple[int, int]
    """Smallest and largest."""
    image_sizes: tuple[int | str, ...]


def stage_rows(records: Sequence[TrialRecord]) -> tuple[StageRow, ...]:
    """One row for each stage with an epoch of any trial. Pure."""
    stages = sorted({report.stage for record in records for report in record.reports})
    return tuple(_stage_row(stage, records) for stage in stages)


def _stage_row(stage: int, records: Sequence[TrialRecord]) -> StageRow:
    """One stage, pooled over the trials with an epoch of it."""
    by_trial = [[r for r in record.reports if r.stage == stage] for record in records]
    reached = [(record, reports) for record, reports in zip(records, by_trial, strict=True) if reports]
    reports = [report for _, own in reached for report in own]
    bests = [max(report.val_accuracy for report in own) for _, own in reached]
    before = [max((r.val_accuracy for r in record.reports if r.stage < stage), default=None) for record, _ in reached]
    gains = [best - earlier for best, earlier in zip(bests, before, strict=True) if earlier is not None]
    sizes = [report.trainable_parameters for report in reports]
    return StageRow(
        stage=stage,
        names=", ".join(dict.fromkeys(report.stage_name for report in reports)),
        trials=len(reached),
        epochs=len(reports),
        accuracy=median(bests),
        gained=median(gains) if gains else None,
        seconds=trained_s(reports),
        images_per_s=median(report.images_per_s for report in reports),
        trainable_parameters=(min(sizes), max(sizes)),
        image_sizes=tuple(sorted({report.image_size for report in reports}, key=named_area)),
    )
