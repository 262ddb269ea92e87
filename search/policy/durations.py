"""How long segments take, by what trials have taken so far. Pure functions of plain records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from carcls.config import TrainConfig
from carcls.config.kept_features import feature_passes
from carcls.events import EpochReport
from carcls.frames import named_area
from search.policy.records import TrialRecord, trained_s

_FEWEST_FOR_QUARTILE = 5
"""Epochs; of fewer, the lower quartile would be the fastest one."""


@dataclass(frozen=True, slots=True)
class StageLength:
    """A stage of a final training."""

    epochs: int | None
    """None: as many as the search's trial had."""
    is_frozen: bool
    """Whether it trains only the head, on stored features."""
    area_px: int | None = None
    """Pixels of a photo; None: as many as in the search's trial."""
    paced_by: int | None = None
    """Number of the trial's stage that trains as many blocks; None: that of the same number."""


def stage_seconds(trials: Sequence[TrialRecord]) -> dict[int, float]:
    """Median seconds of each stage, over the trials that have ended it."""
    found: dict[int, list[float]] = {}
    for trial in trials:
        for stage in range(0 if trial.rung is None else trial.rung + 1):
            found.setdefault(stage, []).append(_spent_in(trial, stage))
    return {stage: median(seconds) for stage, seconds in found.items()}


def stage_weights(config: TrainConfig) -> tuple[float, ...]:
    """Relative seconds of a training's stages: epochs, times pixels, times the passes through the backbone.

    A pass forward counts 1, and one backward through all of it 2. Of a frozen stage only the epochs count that compute
    features. Other trials may have stored them before, so it can only take less.
    """
    areas = [named_area(config.stage_image_size(number)) for number in range(len(config.stages))]
    epochs = [
        feature_passes(config, number) if stage.unfreeze == 0.0 else stage.epochs
        for number, stage in enumerate(config.stages)
    ]
    return tuple(
        count * area / areas[0] * (1.0 + 2.0 * stage.unfreeze)
        for stage, area, count in zip(config.stages, areas, epochs, strict=True)
    )


def expected_seconds(typical: Mapping[int, float], weights: Sequence[float]) -> dict[int, float]:
    """Seconds of each stage, those that no trial has ended by the weights, from the last stage that one has.

    typical: `stage_seconds`. weights: `stage_weights`; empty if they are not known.
    """
    last = max((stage for stage in typical if stage < len(weights)), default=None)
    if last is None:
        return dict(typical)
    unit_s = typical[last] / weights[last]
    return {stage: unit_s * weight for stage, weight in enumerate(weights)} | dict(typical)


def remaining_s(typical: Mapping[int, float], trial: TrialRecord | None, *, stage_count: int) -> float:
    """Seconds that a trial still needs to the end of its last stage; None for a new one.

    typical: `stage_seconds`.
    A trial is as much slower or faster than others as in the stages that it has ended. Stages that no trial has ended
    count as 0: the first trial to reach them shows what they take.
    """
    if trial is None:
        return sum(typical.get(stage, 0.0) for stage in range(stage_count))
    ended = range(0 if trial.rung is None else trial.rung + 1)
    usual = sum(typical[stage] for stage in ended)
    own = sum(_spent_in(trial, stage) for stage in ended)
    pace = own / usual if usual else 1.0
    return pace * sum(typical.get(stage, 0.0) for stage in range(len(ended), trial.stage_count))


def _spent_in(trial: TrialRecord, stage: int) -> float:
    return trained_s([report for report in trial.reports if report.stage == stage])


def final_training_s(reports: Sequence[EpochReport], stages: Sequence[StageLength]) -> float | None:
    """Seconds of a training with these stages, by the epochs of another one; None if that has others.

    What a stage takes once (building, tracing, reading the store) does not grow with its epochs, and the rest of an
    epoch grows with the photos' pixels. The first validation at a size traces too, so the fastest one at that size
    counts. Of five epochs or more the lower quartile counts: what slowed some of them down may be over.
    """
    if {report.stage for report in reports} != set(range(len(stages))):
        return None
    total = 0.0
    for number, stage in enumerate(stages):
        there = [report for report in reports if report.stage == number]
        own = there if stage.paced_by is None else [report for report in reports if report.stage == stage.paced_by]
        size = own[-1].image_size
        alike = [
            report
            for report in reports
            if report.image_size == size
            and report.stage < len(stages)
            and stages[report.stage].is_frozen == stage.is_frozen
        ]
        once = sum(report.seconds.build + report.seconds.trace + report.seconds.store for report in own)
        train = [report.seconds.train + report.seconds.data_wait + report.seconds.holdout for report in own]
        validate = min(report.seconds.validate for report in (*own, *alike))
        area_px = named_area(there[-1].image_size) if stage.area_px is None else stage.area_px
        growth = area_px / named_area(size) if area_px and named_area(size) else 1.0
        epochs = len(there) if stage.epochs is None else stage.epochs
        total += once + epochs * growth * (_undisturbed(train) + validate)
    return total


def validation_s(reports: Sequence[EpochReport], stages: Sequence[StageLength]) -> float | None:
    """Seconds to predict the validation photos once, at the size of a final training's last stage.

    reports: of a whole training, whose fastest validation in its last stage counts. stages: of the final training;
    empty if they are not known, then the size is that training's own. None if that stage is frozen, since it validates
    on kept features.
    """
    if stages and stages[-1].is_frozen:
        return None
    last = [report for report in reports if report.stage == reports[-1].stage]
    area_px, own_px = stages[-1].area_px if stages else None, named_area(last[-1].image_size)
    growth = area_px / own_px if area_px and own_px else 1.0
    return growth * min(report.seconds.validate for report in last)


def _undisturbed(seconds: Sequence[float]) -> float:
    if len(seconds) < _FEWEST_FOR_QUARTILE:
        return median(seconds)
    return sorted(seconds)[(len(seconds) - 1) // 4]


def relative_pace(reports: Sequence[EpochReport], others: Sequence[EpochReport], *, per_pixel: bool) -> float:
    """How many times as long a training takes as another one, by the last stage that it has ended.

    per_pixel: for trainings that will see photos of one size, whatever size these saw. 1 if the other one does not have
    that stage.
    """
    last = max((report.stage for report in reports if report.stage_ended), default=0)
    paces = []
    for one in (reports, others):
        own = [report for report in one if report.stage == last]
        if not own:
            return 1.0
        seconds = median(report.seconds.train + report.seconds.data_wait for report in own)
        seconds += min(report.seconds.validate for report in own)
        paces.append(seconds / (named_area(own[-1].image_size) or 1 if per_pixel else 1))
    return paces[0] / paces[1] if paces[1] else 1.0
