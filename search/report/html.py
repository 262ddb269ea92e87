"""Renders the page. All users' text is escaped, and the page's policy forbids it to load or run anything."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from carcls.system import atomic
from search.report.charts import BASELINE, WINNER, curves_svg, parameters_svg
from search.report.page_data import ReportData
from search.study.efficiency import ms_text, rate_text
from search.terminal.formatting import count_text, duration_text, one_line, short_duration_text, size_text, value_text

_TEMPLATE = Path(__file__).with_name("report.html")

_LEADERBOARD_ROWS = 20
"""Trials that the leaderboard shows before it is expanded."""


def write_report(path: Path, data: ReportData) -> None:
    """Writes the page atomically. Raises OSError if the folder is not writable."""
    atomic.write_text(path, render(data))


def render(data: ReportData) -> str:
    """The page's HTML."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": _score,
        "interval": _interval,
        "points": _points,
        "duration": duration_text,
        "short_duration": short_duration_text,
        "percent": _percent,
        "size": size_text,
        "ms": ms_text,
        "rate": rate_text,
        "one_line": one_line,
        "lines": _lines,
        "value": _value,
        "range": _range,
        "thousands": _thousands,
        "count": count_text,
    }
    # S704: matplotlib escapes every text in its SVG.
    charts = {"curves": Markup(curves_svg(data.curves)), "scatter": Markup(parameters_svg(data.parameters))}  # noqa: S704
    return environment.get_template(_TEMPLATE.name).render(
        data=data, rows=_LEADERBOARD_ROWS, colours={"winner": WINNER, "baseline": BASELINE}, **charts
    )


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} – {interval[1]:.4f}"


def _points(gain: float | None) -> str:
    return "–" if gain is None else f"{100 * gain:+.2f}".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _lines(text: str) -> str:
    """Text of several lines without control characters and lone surrogates, which file names may contain."""
    return "\n".join("".join(char if char.isprintable() else " " for char in line) for line in text.splitlines())


def _value(value: object) -> str:
    return "–" if value is None else one_line(value_text(value))


def _range(values: tuple[int | str, ...]) -> str:
    """`96`, `96 – 160` or `96x128 – 120x160` of ascending values, with a thin space between thousands."""
    ends = dict.fromkeys((values[0], values[-1]))
    return " – ".join(value if isinstance(value, str) else _thousands(value) for value in ends)


def _thousands(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")
