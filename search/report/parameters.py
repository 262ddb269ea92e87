"""The page's charts of each searched parameter against accuracy: points and axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from search.experiment.domains import Value
from search.policy.records import TrialRecord, TrialState
from search.terminal.formatting import one_line, value_text

Scale = Literal["linear", "log", "category"]

_LOG_RATIO, _LOG_MEDIAN = 30.0, 0.25
"""A positive parameter gets a logarithmic axis if its values span this ratio and their median is below this share of
the largest value. The median of uniformly drawn values is near one half."""


@dataclass(frozen=True, slots=True)
class ParameterPoint:
    """One trial. `x` is the value itself, or its index among the categories."""

    x: float
    accuracy: float
    role: str
    complete: bool
    """False if the trial ran only some of its stages."""


@dataclass(frozen=True, slots=True)
class ParameterView:
    """One panel: a parameter's values against the trials' best accuracy."""

    name: str
    scale: Scale
    categories: tuple[str, ...]
    """Labels of indices 0, 1, ...; empty for numbers."""
    points: tuple[ParameterPoint, ...]


def parameter_views(records: Sequence[TrialRecord], best: TrialRecord | None) -> tuple[ParameterView, ...]:
    """One view per parameter with more than one value, in the order of the trials' parameters. Pure."""
    scored = [record for record in records if record.best and record.state is not TrialState.FAIL]
    names = dict.fromkeys(name for record in scored for name in record.params)
    views = (_view(name, [record for record in scored if name in record.params], best) for name in names)
    return tuple(view for view in views if len({point.x for point in view.points}) > 1)


def role_of(record: TrialRecord, best: TrialRecord | None) -> str:
    """`winner`, `baseline` or `other`: how the page marks a trial."""
    if best is not None and record.number == best.number:
        return "winner"
    return "baseline" if record.is_baseline else "other"


def _view(name: str, records: Sequence[TrialRecord], best: TrialRecord | None) -> ParameterView:
    values = [record.params[name] for record in records]
    scale = _scale(values)
    labels = tuple(sorted({_label(value) for value in values})) if scale == "category" else ()
    places = [labels.index(_label(value)) if labels else float(value or 0) for value in values]
    points = tuple(
        ParameterPoint(x, record.best.val_accuracy, role_of(record, best), record.state is TrialState.COMPLETE)
        for x, record in zip(places, records, strict=True)
        if record.best
    )
    return ParameterView(name, scale, labels, points)


def _scale(values: Sequence[Value]) -> Scale:
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return "category"
    low, high = min(numbers), max(numbers)
    return "log" if 0 < low * _LOG_RATIO <= high and median(numbers) <= _LOG_MEDIAN * high else "linear"


def _label(value: Value) -> str:
    return one_line(value_text(value))
