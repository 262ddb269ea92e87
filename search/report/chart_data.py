"""The page's charts as plain JSON values, which `assets/page.js` draws. Pure.

A chart has two axes and groups of items; an item is a trial's points [x, y], drawn as a line, dots or bars. All texts
are single lines without control characters.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from search.policy.records import TrialRecord
from search.report.course import Progress, Span, fate_of
from search.report.importance import Importances
from search.report.page_data import Curve, ReportData
from search.report.parameters import ParameterView
from search.report.trade_offs import CostPoint
from search.terminal.formatting import one_line, value_text

Json = dict[str, Any]

_MOST_PANELS = 24
_MOST_PARALLEL = 12
_FATES = {"stopped": "stopped early", "complete": "all stages", "running": "unfinished", "failed": "failed"}
_ACCURACY: Json = {"label": "validation accuracy", "unit": "share"}


def page_charts(data: ReportData) -> Json:
    """`trials`: what a tooltip says of each trial; `charts`: each chart by name, without those that would be empty."""
    charts = {
        "curves": curves_chart(data.curves),
        "parallel": parallel_chart(data.parameters, data.importances),
        "cost": cost_chart(data.costs),
        "speed": speed_chart(data.costs),
        "timeline": timeline_chart(data.spans),
        "progress": progress_chart(data.progress),
        "reliability": reliability_chart(data),
        **{f"slice{at}": slice_chart(view) for at, view in enumerate(sliced(data))},
    }
    return {
        "trials": {str(row.number): _trial_text(row.number, row) for row in data.leaderboard},
        "charts": {name: chart for name, chart in charts.items() if chart},
    }


def sliced(data: ReportData) -> list[ParameterView]:
    """The parameters that get a panel: the most important first, where that is known."""
    order = {row.name: at for at, row in enumerate(data.importances.rows)} if data.importances else {}
    return sorted(data.parameters, key=lambda view: order.get(view.name, len(order)))[:_MOST_PANELS]


def _trial_text(number: int, row: Any) -> Json:
    params = [f"{short_name(name)} {one_line(value_text(value))}" for name, value in row.params.items()]
    return {"n": f"Trial {number:04d}", "s": row.state, "r": row.role, "p": params}


def short_name(name: str) -> str:
    """A parameter's name without the section, on one line."""
    return one_line(name.removeprefix("train.").removeprefix("stages."))


def curves_chart(curves: Sequence[Curve]) -> Json:
    """Accuracy by epoch, grouped by fate; the winner and the baseline on top."""
    if not curves:
        return {}
    groups: dict[str, list[Json]] = {}
    for curve in curves:
        ends = {epoch for epoch, _ in curve.borders}
        item = {
            "t": curve.number,
            "p": [[epoch, _round(accuracy)] for epoch, accuracy in curve.points],
            "m": [at for at, (epoch, _) in enumerate(curve.points) if epoch in ends],
        }
        groups.setdefault(curve.role if curve.role != "other" else curve.fate, []).append(item)
    names = {**_FATES, "baseline": "baseline", "winner": "winner"}
    longest = max(curve.points[-1][0] for curve in curves)
    return {
        "label": "Validation accuracy of every trial by epoch",
        "x": {"label": "epoch", "unit": "int", "range": [0.5, longest + 0.5]},
        "y": _ACCURACY,
        "groups": [
            {"name": name, "colour": key, "kind": "line", "items": groups[key]}
            for key, name in names.items()
            if key in groups
        ],
        "borders": next(
            ([[epoch, one_line(name)] for epoch, name in curve.borders] for curve in curves if curve.role == "winner"),
            [],
        ),
    }


def slice_chart(view: ParameterView) -> Json:
    """One parameter against accuracy, on an axis of its domain's scale."""
    low, high = _ends(view)
    return {
        "label": f"Best validation accuracy by {short_name(view.name)}",
        "x": {
            "label": short_name(view.name),
            "scale": view.scale,
            "categories": list(view.categories),
            "range": [low, high],
            "domain": view.domain,
        },
        "y": _ACCURACY,
        "small": True,
        "groups": _point_groups(view),
    }


def _point_groups(view: ParameterView) -> list[Json]:
    found = []
    for role, complete, name in (
        ("other", False, "fewer stages"),
        ("other", True, "all stages"),
        ("baseline", None, "baseline"),
        ("winner", None, "winner"),
    ):
        points = [one for one in view.points if one.role == role and complete in (None, one.complete)]
        if points:
            colour = {"other": "complete" if complete else "stopped"}.get(role, role)
            items = [{"t": one.number, "p": [[_round(one.x), _round(one.accuracy)]]} for one in points]
            found.append({"name": name, "colour": colour, "kind": "ring" if complete is False else "dots", "items": items})
    return found


def _ends(view: ParameterView) -> tuple[float, float]:
    """The axis: the domain's ends, or those of values outside of it, with a small margin."""
    if view.categories:
        return -0.6, len(view.categories) - 0.4
    values = [point.x for point in view.points] + list(view.domain or ())
    low, high = min(values), max(values)
    if view.scale == "log":
        margin = (high / low) ** 0.04
        return low / margin, high * margin
    margin = 0.04 * (high - low)
    return low - margin, high + margin


def parallel_chart(views: Sequence[ParameterView], importances: Importances | None) -> Json:
    """Each trial as a line over the axes of its parameters, from the least to the most important one."""
    if len(views) < 2:
        return {}
    order = {row.name: at for at, row in enumerate(importances.rows)} if importances else {}
    shown = sorted(views, key=lambda view: order.get(view.name, len(order)))[:_MOST_PARALLEL]
    places: dict[int, list[list[float]]] = {}
    accuracies: dict[int, tuple[float, str]] = {}
    for at, view in enumerate(shown):
        for point in view.points:
            places.setdefault(point.number, []).append([at, _round(_unit(view, point.x))])
            accuracies[point.number] = (point.accuracy, point.role)
    ranked = sorted(accuracies, key=lambda number: accuracies[number][0])
    axis = len(shown)
    low, high = accuracies[ranked[0]][0], accuracies[ranked[-1]][0]
    items = [
        {
            "t": number,
            "p": [*places[number], [axis, _round((accuracies[number][0] - low) / ((high - low) or 1.0))]],
            "q": _round(rank / max(1, len(ranked) - 1)),
        }
        for rank, number in enumerate(ranked)
    ]
    axes = [{"name": short_name(view.name), "ticks": _ticks(view)} for view in shown]
    axes.append({"name": "accuracy", "ticks": [[0, f"{low:.3f}"], [1, f"{high:.3f}"]]})
    return {
        "label": "Parameters of every trial as lines over parallel axes, coloured by accuracy",
        "kind": "parallel",
        "axes": axes,
        "groups": [{"name": "trials", "colour": "rank", "kind": "line", "items": items}],
    }


def _unit(view: ParameterView, x: float) -> float:
    if view.categories:
        return (x + 0.5) / len(view.categories)
    low, high = _ends(view)
    if view.scale == "log":
        from math import log

        return log(x / low) / log(high / low)
    return (x - low) / (high - low)


def _ticks(view: ParameterView) -> list[list[Any]]:
    if view.categories:
        return [[(at + 0.5) / len(view.categories), label] for at, label in enumerate(view.categories)]
    ends = view.domain or (min(point.x for point in view.points), max(point.x for point in view.points))
    return [[_round(_unit(view, end)), f"{end:.3g}"] for end in ends]


def cost_chart(points: Sequence[CostPoint]) -> Json:
    """Accuracy against training time, with the Pareto front of each backbone."""
    if len(points) < 2:
        return {}
    groups: list[Json] = []
    for at, backbone in enumerate(sorted({point.backbone for point in points})):
        own = [point for point in points if point.backbone == backbone]
        colour, name = f"set{at % 8}", backbone or "trials"
        front = sorted((point.seconds, point.accuracy) for point in own if point.pareto)
        if len(front) > 1:
            steps = [[_round(seconds), _round(accuracy)] for seconds, accuracy in front]
            groups.append({"name": name, "colour": colour, "kind": "step", "items": [{"p": steps}]})
        items = [{"t": one.number, "p": [[_round(one.seconds), _round(one.accuracy)]]} for one in own]
        groups.append({"name": name, "colour": colour, "kind": "dots", "items": items})
    return {
        "label": "Best validation accuracy against training time; lines are the Pareto fronts",
        "x": {"label": "training time", "unit": "s", "scale": "log", **_log_range([one.seconds for one in points])},
        "y": _ACCURACY,
        "groups": groups,
    }


def speed_chart(points: Sequence[CostPoint]) -> Json:
    """Accuracy against the time to validate one photo."""
    timed = [(point, point.ms_per_photo) for point in points if point.ms_per_photo]
    if len(timed) < 2:
        return {}
    groups: list[Json] = []
    for at, backbone in enumerate(sorted({point.backbone for point in points})):
        items = [
            {"t": point.number, "p": [[_round(ms or 0.0), _round(point.accuracy)]]}
            for point, ms in timed
            if point.backbone == backbone
        ]
        groups.append({"name": backbone or "trials", "colour": f"set{at % 8}", "kind": "dots", "items": items})
    front = sorted((ms or 0.0, point.accuracy) for point, ms in timed if point.pareto_ms)
    if len(front) > 1:
        steps = [[_round(ms), _round(accuracy)] for ms, accuracy in front]
        groups.insert(0, {"name": "Pareto front", "colour": "ink", "kind": "step", "items": [{"p": steps}]})
    return {
        "label": "Best validation accuracy against validation time per photo",
        "x": {"label": "ms per photo", "unit": "ms", "scale": "log", **_log_range([ms or 0.0 for _, ms in timed])},
        "y": _ACCURACY,
        "groups": groups,
    }


def timeline_chart(spans: Sequence[Span]) -> Json:
    """When each trial trained, one lane for each training at the same time."""
    if not spans:
        return {}
    lanes = max(span.lane for span in spans) + 1
    groups: dict[str, list[Json]] = {}
    for span in spans:
        item = {"t": span.number, "b": [_round(span.start_s), _round(span.end_s), span.lane], "x": one_line(span.stages)}
        groups.setdefault(span.fate, []).append(item)
    return {
        "label": "When each trial trained",
        "x": {"label": "time since the first training began", "unit": "s",
              "range": [0, max(span.end_s for span in spans) * 1.01]},
        "y": {"label": "training at once", "unit": "lane", "range": [-0.6, lanes - 0.4]},
        "height": 90 + 26 * min(lanes, 16),
        "groups": [
            {"name": name, "colour": fate, "kind": "bars", "items": groups[fate]}
            for fate, name in _FATES.items()
            if fate in groups
        ],
    }  # fmt: skip


def progress_chart(steps: Sequence[Progress]) -> Json:
    """The best accuracy so far by wall-clock."""
    if len(steps) < 2:
        return {}
    points = [{"t": step.number, "p": [[_round(step.seconds), _round(step.accuracy)]]} for step in steps]
    line = [[_round(step.seconds), _round(step.accuracy)] for step in steps]
    return {
        "label": "Best validation accuracy so far by time",
        "x": {"label": "time since the first training began", "unit": "s", "range": [0, steps[-1].seconds * 1.03]},
        "y": _ACCURACY,
        "groups": [
            {"name": "best so far", "colour": "winner", "kind": "step", "items": [{"p": line}]},
            {"name": "best so far", "colour": "winner", "kind": "dots", "items": points},
        ],
    }


def reliability_chart(data: ReportData) -> Json:
    """Accuracy against confidence in bins; the diagonal is perfect calibration."""
    if data.mistakes is None:
        return {}
    items = [
        {"p": [[_round(one.confidence), _round(one.accuracy)]], "w": one.count,
         "x": f"{one.count} photos: confidence {one.confidence:.2f}, right {one.accuracy:.2f}"}
        for one in data.mistakes.reliability.bins
    ]  # fmt: skip
    line = [point for item in items for point in item["p"]]
    return {
        "label": "Share of right answers by the model's confidence",
        "x": {"label": "confidence", "unit": "share", "range": [0, 1.02]},
        "y": {"label": "share that is right", "unit": "share", "range": [-0.02, 1.04]},
        "groups": [
            {"name": "perfect", "colour": "soft", "kind": "line", "items": [{"p": [[0, 0], [1, 1]]}]},
            {"name": "model", "colour": "baseline", "kind": "line", "items": [{"p": line}]},
            {"name": "model", "colour": "baseline", "kind": "dots", "items": items},
        ],
    }


def _log_range(values: Sequence[float]) -> Json:
    positive = [value for value in values if value > 0]
    low, high = min(positive, default=1.0), max(positive, default=10.0)
    margin = max(1.05, (high / low) ** 0.06)
    return {"range": [low / margin, high * margin]}


def _round(value: float) -> float:
    """Five significant digits: finer than a pixel, and shorter on the page."""
    return float(f"{value:.5g}")


