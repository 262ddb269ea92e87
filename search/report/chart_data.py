"""The page's charts as plain JSON values, which `assets/page.js` draws. Pure.

A chart has two axes and groups of items; an item is a trial's points [x, y], drawn as a line, dots or bars. All texts
are single lines without control characters.
"""

from collections.abc import Sequence
from math import log
from typing import Any

from search.report.chart_course import cost_chart, progress_chart, reliability_chart, speed_chart, timeline_chart
from search.report.chart_values import ACCURACY, FATES, Json, cloud, rounded
from search.report.page_data import Curve, ReportData, TrialRow
from search.report.page_limits import PageView
from search.report.sections.importance import Importances
from search.report.sections.parameters import ParameterView
from search.report.thinning import XY
from search.terminal.formatting import one_line, value_text

_MOST_PANELS = 24
_MOST_PARALLEL = 12


def page_charts(view: PageView) -> Json:
    """`trials`: what a tooltip says of each trial; `charts`: each chart by name, without those that would be empty."""
    data, of = view.data, view.shown if view.is_limited else "every trial"
    charts = {
        "curves": curves_chart(data.curves, of=of),
        "parallel": parallel_chart(data.parameters, data.importances, of=of),
        "cost": cost_chart(data.costs, view.other_costs),
        "speed": speed_chart(data.costs, view.other_times),
        "timeline": timeline_chart(data.spans),
        "progress": progress_chart(data.progress),
        "reliability": reliability_chart(data.mistakes),
        **{f"slice{at}": slice_chart(one, view.other_points.get(one.name, ())) for at, one in enumerate(sliced(data))},
    }
    return {
        "trials": {str(row.number): _trial_text(row) for row in data.leaderboard},
        "charts": {name: chart for name, chart in charts.items() if chart},
    }


def sliced(data: ReportData) -> list[ParameterView]:
    """The parameters that get a panel: the most important first, where that is known."""
    order = {row.name: at for at, row in enumerate(data.importances.rows)} if data.importances else {}
    return sorted(data.parameters, key=lambda view: order.get(view.name, len(order)))[:_MOST_PANELS]


def _trial_text(row: TrialRow) -> Json:
    params = [f"{short_name(name)} {one_line(value_text(value))}" for name, value in row.params.items()]
    return {"n": f"Trial {row.number:04d}", "s": row.state, "r": row.role, "p": params}


def short_name(name: str) -> str:
    """A parameter's name without the section, on one line."""
    return one_line(name.removeprefix("train.").removeprefix("stages."))


def curves_chart(curves: Sequence[Curve], *, of: str = "every trial") -> Json:
    """Accuracy by epoch, grouped by fate; the winner and the baseline on top. of: names the trials."""
    if not curves:
        return {}
    groups: dict[str, list[Json]] = {}
    for curve in curves:
        ends = {epoch for epoch, _ in curve.borders}
        item = {
            "t": curve.number,
            "p": [[epoch, rounded(accuracy)] for epoch, accuracy in curve.points],
            "m": [at for at, (epoch, _) in enumerate(curve.points) if epoch in ends],
        }
        groups.setdefault(curve.role if curve.role != "other" else curve.fate, []).append(item)
    names = {**FATES, "baseline": "baseline", "winner": "winner"}
    longest = max(curve.points[-1][0] for curve in curves)
    return {
        "label": f"Validation accuracy of {of} by epoch",
        "x": {"label": "epoch", "unit": "int", "range": [0.5, longest + 0.5]},
        "y": ACCURACY,
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


def slice_chart(view: ParameterView, others: Sequence[XY] = ()) -> Json:
    """One parameter against accuracy, on an axis of its domain's scale. others: points without a trial, beneath."""
    low, high = _ends(view, others)
    return {
        "label": f"Best validation accuracy by {short_name(view.name)}",
        "x": {
            "label": short_name(view.name),
            "scale": view.scale,
            "categories": list(view.categories),
            "range": [low, high],
            "domain": view.domain,
        },
        "y": ACCURACY,
        "small": True,
        "groups": [*cloud(others), *_point_groups(view)],
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
            items = [{"t": one.number, "p": [[rounded(one.x), rounded(one.accuracy)]]} for one in points]
            found.append(
                {"name": name, "colour": colour, "kind": "ring" if complete is False else "dots", "items": items}
            )
    return found


def _ends(view: ParameterView, others: Sequence[XY] = ()) -> tuple[float, float]:
    """The axis: the domain's ends, or those of values outside of it, with a small margin."""
    if view.categories:
        return -0.6, len(view.categories) - 0.4
    values = [*(point.x for point in view.points), *(x for x, _ in others), *(view.domain or ())]
    low, high = min(values), max(values)
    if view.scale == "log":
        margin = (high / low) ** 0.04
        return low / margin, high * margin
    margin = 0.04 * (high - low)
    return low - margin, high + margin


def parallel_chart(views: Sequence[ParameterView], importances: Importances | None, *, of: str = "every trial") -> Json:
    """Each trial as a line over the axes of its parameters, from the least to the most important one."""
    if len(views) < 2:
        return {}
    order = {row.name: at for at, row in enumerate(importances.rows)} if importances else {}
    shown = sorted(views, key=lambda view: order.get(view.name, len(order)))[:_MOST_PARALLEL]
    places: dict[int, list[list[float]]] = {}
    accuracies: dict[int, tuple[float, str]] = {}
    for at, view in enumerate(shown):
        ends = _ends(view)
        for point in view.points:
            places.setdefault(point.number, []).append([at, rounded(_unit(view, point.x, ends))])
            accuracies[point.number] = (point.accuracy, point.role)
    ranked = sorted(accuracies, key=lambda number: accuracies[number][0])
    axis = len(shown)
    low, high = accuracies[ranked[0]][0], accuracies[ranked[-1]][0]
    items = [
        {
            "t": number,
            "p": [*places[number], [axis, rounded((accuracies[number][0] - low) / ((high - low) or 1.0))]],
            "q": rounded(rank / max(1, len(ranked) - 1)),
        }
        for rank, number in enumerate(ranked)
    ]
    axes = [{"name": short_name(view.name), "ticks": _ticks(view)} for view in shown]
    axes.append({"name": "accuracy", "ticks": [[0, f"{low:.3f}"], [1, f"{high:.3f}"]]})
    return {
        "label": f"Parameters of {of} as lines over parallel axes, coloured by accuracy",
        "kind": "parallel",
        "axes": axes,
        "groups": [{"name": "trials", "colour": "rank", "kind": "line", "items": items}],
    }


def _unit(view: ParameterView, x: float, ends: tuple[float, float]) -> float:
    """Place on an axis from 0 to 1. ends: of the axis, see `_ends`."""
    if view.categories:
        return (x + 0.5) / len(view.categories)
    low, high = ends
    if view.scale == "log":
        return log(x / low) / log(high / low)
    return (x - low) / (high - low)


def _ticks(view: ParameterView) -> list[list[Any]]:
    if view.categories:
        return [[(at + 0.5) / len(view.categories), label] for at, label in enumerate(view.categories)]
    ends = view.domain or (min(point.x for point in view.points), max(point.x for point in view.points))
    axis = _ends(view)
    return [[rounded(_unit(view, end, axis)), f"{end:.3g}"] for end in ends]
