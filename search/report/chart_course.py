"""Charts about costs, time and calibration as plain JSON values; see `search.report.chart_data`. Pure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from search.report.chart_values import ACCURACY, FATES, Json, cloud, log_range, rounded
from search.report.sections.course import Progress, Span
from search.report.sections.mistakes import Mistakes
from search.report.sections.trade_offs import CostPoint
from search.report.thinning import XY
from search.terminal.formatting import one_line

Clouds = Mapping[str, Sequence[XY]]
"""Points without a trial, by backbone."""

_NO_CLOUDS: Clouds = MappingProxyType({})


def cost_chart(points: Sequence[CostPoint], others: Clouds = _NO_CLOUDS) -> Json:
    """Accuracy against training time, with the Pareto front of each backbone."""
    if len(points) < 2:
        return {}
    groups: list[Json] = []
    for at, backbone in enumerate(sorted({*(point.backbone for point in points), *others})):
        own = [point for point in points if point.backbone == backbone]
        colour, name = f"set{at % 8}", backbone or "trials"
        groups += cloud(others.get(backbone, ()), name=name, colour=colour)
        front = sorted((point.seconds, point.accuracy) for point in own if point.pareto)
        if len(front) > 1:
            steps = [[rounded(seconds), rounded(accuracy)] for seconds, accuracy in front]
            groups.append({"name": name, "colour": colour, "kind": "step", "items": [{"p": steps}]})
        items = [{"t": one.number, "p": [[rounded(one.seconds), rounded(one.accuracy)]]} for one in own]
        groups.append({"name": name, "colour": colour, "kind": "dots", "items": items})
    return {
        "label": "Best validation accuracy against training time; lines are the Pareto fronts",
        "x": {"label": "training time", "unit": "s", "scale": "log",
              **log_range([*(one.seconds for one in points), *_all_x(others)])},
        "y": ACCURACY,
        "groups": groups,
    }  # fmt: skip


def _all_x(clouds: Clouds) -> list[float]:
    return [x for points in clouds.values() for x, _ in points]


def speed_chart(points: Sequence[CostPoint], others: Clouds = _NO_CLOUDS) -> Json:
    """Accuracy against the time to validate one photo."""
    timed = [(point, point.ms_per_photo) for point in points if point.ms_per_photo]
    if len(timed) < 2:
        return {}
    groups: list[Json] = []
    for at, backbone in enumerate(sorted({*(point.backbone for point in points), *others})):
        colour, name = f"set{at % 8}", backbone or "trials"
        groups += cloud(others.get(backbone, ()), name=name, colour=colour)
        items = [
            {"t": point.number, "p": [[rounded(ms or 0.0), rounded(point.accuracy)]]}
            for point, ms in timed
            if point.backbone == backbone
        ]
        groups.append({"name": name, "colour": colour, "kind": "dots", "items": items})
    front = sorted((ms or 0.0, point.accuracy) for point, ms in timed if point.pareto_ms)
    if len(front) > 1:
        steps = [[rounded(ms), rounded(accuracy)] for ms, accuracy in front]
        groups.insert(0, {"name": "Pareto front", "colour": "ink", "kind": "step", "items": [{"p": steps}]})
    return {
        "label": "Best validation accuracy against validation time per photo",
        "x": {"label": "ms per photo", "unit": "ms", "scale": "log",
              **log_range([*(ms or 0.0 for _, ms in timed), *_all_x(others)])},
        "y": ACCURACY,
        "groups": groups,
    }  # fmt: skip


def timeline_chart(spans: Sequence[Span]) -> Json:
    """When each trial trained, one lane for each training at the same time."""
    if not spans:
        return {}
    lanes = max(span.lane for span in spans) + 1
    groups: dict[str, list[Json]] = {}
    for span in spans:
        item: Json = {
            "b": [rounded(span.start_s), rounded(span.end_s), span.lane],
            "x": one_line(span.stages),
        }
        if span.number is not None:
            item = {"t": span.number, **item}
        groups.setdefault(span.fate, []).append(item)
    return {
        "label": "When each trial trained",
        "x": {"label": "time since the first training began", "unit": "s",
              "range": [0, max(span.end_s for span in spans) * 1.01]},
        "y": {"label": "training at once", "unit": "lane", "range": [-0.6, lanes - 0.4]},
        "height": 90 + 26 * min(lanes, 16),
        "groups": [
            {"name": name, "colour": fate, "kind": "bars", "items": groups[fate]}
            for fate, name in FATES.items()
            if fate in groups
        ],
    }  # fmt: skip


def progress_chart(steps: Sequence[Progress]) -> Json:
    """The best accuracy so far by wall-clock."""
    if len(steps) < 2:
        return {}
    points = [{"t": step.number, "p": [[rounded(step.seconds), rounded(step.accuracy)]]} for step in steps]
    line = [[rounded(step.seconds), rounded(step.accuracy)] for step in steps]
    return {
        "label": "Best validation accuracy so far by time",
        "x": {"label": "time since the first training began", "unit": "s", "range": [0, steps[-1].seconds * 1.03]},
        "y": ACCURACY,
        "groups": [
            {"name": "best so far", "colour": "winner", "kind": "step", "items": [{"p": line}]},
            {"name": "best so far", "colour": "winner", "kind": "dots", "items": points},
        ],
    }


def reliability_chart(found: Mistakes | None) -> Json:
    """Accuracy against confidence in bins; the diagonal is perfect calibration."""
    if found is None:
        return {}
    items: list[Json] = [
        {"p": [[rounded(one.confidence), rounded(one.accuracy)]], "w": one.count,
         "x": f"{one.count} photos: confidence {one.confidence:.2f}, right {one.accuracy:.2f}"}
        for one in found.reliability.bins
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
