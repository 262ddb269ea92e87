"""Several studies on one page: their answers side by side, and their curves in common charts."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.report.chart_values import ACCURACY, Json, cloud, log_range, rounded
from search.report.page_data import ReportData
from search.report.page_limits import page_view
from search.terminal.formatting import one_line

_COLOURS = 8
"""Colours of the page's palette."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One study."""

    name: str
    data: ReportData
    split: str
    """Digest of its split; '' for a fixed recipe. Scores of different splits are of different photos."""
    link: str
    """Address of its own report, relative to the page."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The page's content."""

    studies: tuple[Compared, ...]
    """The highest expected or else validated accuracy first."""
    same_photos: bool
    """False if the validation photos differ, so that scores cannot be compared exactly."""


def comparison_charts(found: Comparison) -> Json:
    """Best accuracy so far by time, and all trials by cost, with a colour for each study. Pure."""
    trials = {
        f"{at}/{row.number}": {
            "n": f"{one_line(one.name)}, trial {row.number:04d}",
            "s": row.state,
            "r": row.role,
            "p": [],
        }
        for at, one in enumerate(found.studies)
        for row in page_view(one.data).data.leaderboard
    }
    charts = {"progress": _progress(found.studies), "cost": _costs(found.studies)}
    return {"trials": trials, "charts": {name: chart for name, chart in charts.items() if chart}}


def _progress(studies: Sequence[Compared]) -> Json:
    ends = [one.data.progress[-1].seconds for one in studies if one.data.progress]
    if not ends:
        return {}
    groups: list[Json] = []
    for at, one in enumerate(studies):
        points = [[rounded(step.seconds), rounded(step.accuracy)] for step in one.data.progress]
        if points:
            shared = {"name": one_line(one.name), "colour": f"set{at % _COLOURS}"}
            groups.append({**shared, "kind": "step", "items": [{"p": [*points, [max(ends), points[-1][1]]]}]})
            items = [{"t": f"{at}/{step.number}", "p": [point]}
                     for step, point in zip(one.data.progress, points, strict=True)]  # fmt: skip
            groups.append({**shared, "kind": "dots", "items": items})
    return {
        "label": "Best validation accuracy so far by time, for each study",
        "x": {"label": "time since the study's first training began", "unit": "s", "range": [0, max(ends) * 1.03]},
        "y": ACCURACY,
        "groups": groups,
    }


def _costs(studies: Sequence[Compared]) -> Json:
    seconds = [point.seconds for one in studies for point in one.data.costs]
    if len(seconds) < 2:
        return {}
    groups: list[Json] = []
    for at, one in enumerate(studies):
        view, name, colour = page_view(one.data), one_line(one.name), f"set{at % _COLOURS}"
        for others in view.other_costs.values():
            groups += cloud(others, name=name, colour=colour)
        items = [
            {"t": f"{at}/{point.number}", "p": [[rounded(point.seconds), rounded(point.accuracy)]]}
            for point in view.data.costs
        ]
        if items:
            groups.append({"name": name, "colour": colour, "kind": "dots", "items": items})
    return {
        "label": "Best validation accuracy of every trial against its training time",
        "x": {"label": "training time", "unit": "s", "scale": "log", **log_range(seconds)},
        "y": ACCURACY,
        "groups": groups,
    }
