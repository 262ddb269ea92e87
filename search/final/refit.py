"""A training on all labelled photos: with no photo left to validate, its length and rates are fixed beforehand. Pure.

Trainings that validated (the folds, or else the search's trial) say which stage to end with, how long each stage lasts,
and after which epochs a plateau schedule drops the rate. Other schedules run their whole curve over these epochs.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median_high

from carcls.config import ScheduleConfig, StageConfig, TrainConfig
from carcls.events import EpochReport, best_report
from search.errors import StudyError

Reports = Sequence[EpochReport]
"""All epochs of one finished training."""


def refit_config(config: TrainConfig, trainings: Sequence[Reports]) -> TrainConfig:
    """`config` with the stages and epochs that its trainings found, and without early stopping.

    Each number is the median over the trainings, the larger of two middle ones. The last stage is that of the weights
    kept; a stage lasts as long as it ran, the last one until the epoch kept. More photos mean more steps an epoch.

    A schedule with a curve (cosine, exponential, one_cycle) runs all of it over these epochs, so that a stage which
    early stopping had shortened still ends at the schedule's floor: its rates are not those of the trainings at the
    same epochs. A plateau without `drops` of its own gets them, see `_fixed`.
    """
    kept = [best_report(reports) or reports[-1] for reports in trainings]
    last = median_high(report.stage for report in kept)
    stages = []
    for number in range(last + 1):
        ran = [[report for report in reports if report.stage == number] for reports in trainings]
        ran = [reports for reports in ran if reports]
        lengths = [
            sum(report.stage == number and (number < last or report.epoch <= _end(best, last)) for report in reports)
            for best, reports in zip(kept, trainings, strict=True)
        ]
        epochs = median_high([length for length in lengths if length])
        stages.append(_fixed(config.stages[number], epochs, [_drops(reports) for reports in ran]))
    changed = config.model_copy(update={"stages": tuple(stages)})
    return TrainConfig.model_validate(changed.model_dump())


def trial_refit_config(final: TrainConfig, trial: TrainConfig, reports: Reports) -> TrainConfig:
    """The same from the search's trial alone. Raises StudyError if `retrain` changed its configuration."""
    if final != trial:
        raise StudyError(
            "retrain.photos: all without folds takes its length from the search's trial, but the file's retrain"
            " section changes its configuration: set retrain.folds to 2 or more, or remove these changes"
        )
    return refit_config(final, [reports])


def stage_epochs(reports: Reports) -> tuple[tuple[str, int], ...]:
    """Name and number of epochs of each stage that was trained, in order."""
    names = dict.fromkeys(report.stage_name for report in reports)
    return tuple((name, sum(report.stage_name == name for report in reports)) for name in names)


def _end(kept: EpochReport, last: int) -> float:
    """Epoch of the training after which the refit's last stage ends, if it is the one of the weights kept."""
    return kept.epoch if kept.stage == last else float("inf")


def _fixed(stage: StageConfig, epochs: int, drops: Sequence[tuple[int, ...]]) -> StageConfig:
    """The stage with this length. A plateau drops as often as the trainings at the median. Its first drop follows the
    median epoch of their first drops, and so on, if that comes before the stage's last epoch.

    drops: of each training that ran the stage, see `_drops`.
    """
    schedule = stage.schedule
    if schedule.kind == "plateau" and schedule.drops is None:
        count = median_high([len(one) for one in drops])
        places = [median_high([one[place] for one in drops if len(one) > place]) for place in range(count)]
        fixed = tuple(place for place in places if place < epochs)
        schedule = ScheduleConfig.model_validate(schedule.model_dump() | {"drops": fixed})
    return stage.model_copy(update={"epochs": epochs, "early_stopping": None, "schedule": schedule})


def _drops(reports: Reports) -> tuple[int, ...]:
    """Epochs of a stage after which its rate fell. reports: of that stage."""
    return tuple(
        before.stage_epoch for before, after in pairwise(reports) if after.learning_rate < before.learning_rate
    )
