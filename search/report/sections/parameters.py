"""The page's charts of each searched parameter against accuracy: points and axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from search.experiment.domains import Choice, Domain, Integer, LogUniform, Value
from search.policy.records import TrialRecord, TrialState
from search.terminal.formatting import one_line, value_text

Scale = Literal["linear", "log", "category"]

_LOG_RATIO, _LOG_MEDIAN = 30.0, 0.25
"""Without its domain, a positive parameter gets a logarithmic axis if its values span this ratio and their median is
below this share of the largest value. The median of uniformly drawn values is near one half."""


@dataclass(frozen=True, slots=True)
class ParameterPoint:
    """One trial. `x` is the value itself, or its index among the categories."""

    x: float
    accuracy: float
    role: str
    complete: bool
    """False if the trial ran only some of its stages."""
    number: int = 0


@dataclass(frozen=True, slots=True)
class ParameterView:
    """One panel: a parameter's values against the trials' best accuracy."""

    name: str
    scale: Scale
    categories: tuple[str, ...]
    """Labels of indices 0, 1, ...; empty for numbers."""
    points: tuple[ParameterPoint, ...]
    domain: tuple[float, float] | None = None
    """Ends of the domain, if known and of numbers."""


def parameter_views(
    records: Sequence[TrialRecord], best: TrialRecord | None, domains: Mapping[str, Domain] | None = None
) -> tuple[ParameterView, ...]:
    """One view per parameter with more than one value, in the order of the trials' parameters. Pure.

    domains: by parameter; they give each axis its scale and its ends.
    """
    scored = [record for record in records if record.best and record.state is not TrialState.FAIL]
    names = dict.fromkeys(name for record in scored for name in record.params)
    views = (
        _view(name, [record for record in scored if name in record.params], best, (domains or {}).get(name))
        for name in names
    )
    return tuple(view for view in views if len({point.x for point in view.points}) > 1)


def role_of(record: TrialRecord, best: TrialRecord | None) -> str:
    """`winner`, `baseline` or `other`: how the page marks a trial."""
    if best is not None and record.number == best.number:
        return "winner"
    return "baseline" if record.is_baseline else "other"


def _view(name: str, records: Sequence[TrialRecord], best: TrialRecord | None, domain: Domain | None) -> ParameterView:
    values = [record.params[name] for record in records]
    scale = _scale(values, domain)
    labels = _labels(values, domain) if scale == "category" else ()
    indices = {label: at for at, label in enumerate(labels)}
    places = [indices[_label(value)] if labels else float(value or 0) for value in values]
    points = tuple(
        ParameterPoint(
            x, record.best.val_accuracy, role_of(record, best), record.state is TrialState.COMPLETE, record.number
        )
        for x, record in zip(places, records, strict=True)
        if record.best
    )
    ends = None if domain is None or isinstance(domain, Choice) else (float(domain.low), float(domain.high))
    return ParameterView(name, scale, labels, points, ends if scale != "category" else None)


def _scale(values: Sequence[Value], domain: Domain | None) -> Scale:
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or isinstance(domain, Choice):
        return "category"
    low, high = min(numbers), max(numbers)
    if domain is not None:
        is_log = isinstance(domain, LogUniform) or (isinstance(domain, Integer) and domain.log)
        return "log" if is_log and low > 0 else "linear"
    return "log" if 0 < low * _LOG_RATIO <= high and median(numbers) <= _LOG_MEDIAN * high else "linear"


def _labels(values: Sequence[Value], domain: Domain | None) -> tuple[str, ...]:
    """The values seen: numbers in their order, others in the file's or else in alphabetical order."""
    if isinstance(domain, Choice):
        options = list(domain.values)
        if all(isinstance(one, int | float) and not isinstance(one, bool) for one in options):
            options.sort(key=lambda one: float(one or 0))
        known = [_label(one) for one in options]
        seen = {_label(value) for value in values}
        return tuple(dict.fromkeys([*(label for label in known if label in seen), *sorted(seen - set(known))]))
    return tuple(sorted({_label(value) for value in values}))


def _label(value: Value) -> str:
    return one_line(value_text(value))
