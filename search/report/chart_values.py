"""What all charts share: their JSON type, names and number formats. Pure."""

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

FATES = {"stopped": "stopped early", "complete": "all stages", "running": "unfinished", "failed": "failed"}
"""Names in legends, see `search.report.sections.course.fate_of`."""

ACCURACY: Json = {"label": "validation accuracy", "unit": "share"}
"""The vertical axis of most charts."""


def cloud(points: Sequence[tuple[float, float]], *, name: str = "other trials", colour: str = "soft") -> list[Json]:
    """A group of small dots that have no trial to tell; empty without points."""
    places = [[rounded(x), rounded(y)] for x, y in points]
    return [{"name": name, "colour": colour, "kind": "cloud", "items": [{"p": places}]}] if places else []


def log_range(values: Sequence[float]) -> Json:
    """A logarithmic axis over all positive values, with a margin."""
    positive = [value for value in values if value > 0]
    low, high = min(positive, default=1.0), max(positive, default=10.0)
    margin = max(1.05, (high / low) ** 0.06)
    return {"range": [low / margin, high * margin]}


def rounded(value: float) -> float:
    """Five significant digits: finer than a pixel, and shorter on the page."""
    return float(f"{value:.5g}")
