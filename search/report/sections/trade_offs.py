"""Accuracy against what it costs: training time, and time per photo. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from search.policy.records import TrialRecord, TrialState, searched, trained_s
from search.report.sections.parameters import role_of
from search.terminal.formatting import one_line

BACKBONE = "train.backbone"


@dataclass(frozen=True, slots=True)
class CostPoint:
    """One trial."""

    number: int
    backbone: str
    """'' if the experiment has only one."""
    role: str
    accuracy: float
    seconds: float
    """Training time, all epochs so far."""
    ms_per_photo: float | None
    """Validation time for one photo in the last stage; None before that, or if the number of photos is unknown."""
    pareto: bool
    """True if no trial of the same backbone is as accurate for less training time."""
    pareto_ms: bool
    """The same for the time per photo, over all trials."""


def cost_points(
    records: Sequence[TrialRecord], best: TrialRecord | None, validation_photos: int | None
) -> tuple[CostPoint, ...]:
    """Every trial with a finite epoch that has not failed, in order of numbers."""
    trials = [trial for trial in searched(records) if trial.best and trial.state is not TrialState.FAIL]
    spoken = [(trial, trained_s(trial.reports), _ms_per_photo(trial, validation_photos)) for trial in trials]
    front = {
        number
        for backbone in {_backbone(trial) for trial in trials}
        for number in pareto(
            (seconds, _accuracy(trial), trial.number) for trial, seconds, _ in spoken if _backbone(trial) == backbone
        )
    }
    front_ms = set(pareto((ms, _accuracy(trial), trial.number) for trial, _, ms in spoken if ms is not None))
    return tuple(
        CostPoint(
            number=trial.number,
            backbone=_backbone(trial),
            role=role_of(trial, best),
            accuracy=_accuracy(trial),
            seconds=seconds,
            ms_per_photo=ms,
            pareto=trial.number in front,
            pareto_ms=trial.number in front_ms,
        )
        for trial, seconds, ms in spoken
    )


def pareto(points: Iterable[tuple[float, float, int]]) -> list[int]:
    """Numbers of the points (cost, accuracy, number) that no cheaper or equally cheap one reaches, by cost."""
    front: list[int] = []
    reached = float("-inf")
    for _, accuracy, number in sorted(points, key=lambda point: (point[0], -point[1], point[2])):
        if accuracy > reached:
            front.append(number)
            reached = accuracy
    return front


def _accuracy(trial: TrialRecord) -> float:
    return trial.best.val_accuracy if trial.best else 0.0


def _backbone(trial: TrialRecord) -> str:
    value = trial.params.get(BACKBONE)
    return "" if value is None else one_line(str(value))


def _ms_per_photo(trial: TrialRecord, photos: int | None) -> float | None:
    """Median over the epochs of the last stage: earlier ones validate on stored features, which takes no time."""
    if not photos or trial.state is not TrialState.COMPLETE:
        return None
    last = trial.stage_count - 1
    same = [one.seconds.validate for one in trial.reports if one.stage == last and one.seconds.validate > 0]
    return 1000.0 * median(same) / photos if same else None
