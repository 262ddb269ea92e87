"""Renders the page. All users' text is escaped, and the page's policy allows our own scripts by their hashes only."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from carcls.system import atomic
from search.report.chart_data import page_charts, short_name, sliced
from search.report.comparison import Comparison, comparison_charts
from search.report.page_data import ReportData
from search.report.page_limits import page_view
from search.study.efficiency import ms_text, rate_text
from search.terminal.formatting import count_text, duration_text, one_line, short_duration_text, size_text, value_text

_TEMPLATES = Path(__file__).with_name("templates")
_ASSETS = Path(__file__).with_name("assets")
_STYLES = ("uplot.css", "page.css")
_SCRIPTS = ("uplot.min.js", "page.js")

_LEADERBOARD_ROWS = 20
"""Trials that the leaderboard shows before it is expanded."""


def write_report(path: Path, data: ReportData) -> None:
    """Writes the page atomically. Raises OSError if the folder is not writable."""
    write_page(path, render(data))


def write_page(path: Path, html: str) -> None:
    """Writes HTML atomically as UTF-8, with a question mark for each byte of a name that is not UTF-8. Raises OSError
    if the folder is not writable."""
    atomic.write_text(path, html.encode("utf-8", "replace").decode("utf-8"))


def render(data: ReportData) -> str:
    """The page's HTML. Of a large study it shows some trials, see `search.report.page_limits`."""
    view = page_view(data)
    charts, data = page_charts(view), view.data
    shown = charts["charts"]
    return (
        environment()
        .get_template("report.html")
        .render(
            data=data,
            view=view,
            searched=bool(data.leaderboard or not data.retrain),
            rows=_LEADERBOARD_ROWS,
            shown=shown,
            slices=sliced(data),
            backbones=len({point.backbone for point in data.costs}),
            matrix_most=_most_mistakes(data),
            **page_assets(charts),
        )
    )


def render_comparison(found: Comparison) -> str:
    """The HTML of several studies' page."""
    charts = comparison_charts(found)
    winners = [{row.name: row.value for row in one.data.winner.parameters} if one.data.winner else {}
               for one in found.studies]  # fmt: skip
    names = dict.fromkeys(name for values in winners for name in values)
    return (
        environment()
        .get_template("comparison.html")
        .render(
            found=found,
            shown=charts["charts"],
            winners=[(name, [values.get(name) for values in winners]) for name in names],
            **page_assets(charts),
        )
    )


def environment() -> Environment:
    """Templates with escaping on, and our filters."""
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "score": _score,
        "short_score": _short_score,
        "short_interval": _short_interval,
        "share": _share,
        "short": short_name,
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
        "count": _count,
    }
    return found


def page_assets(charts: Mapping[str, Any]) -> dict[str, object]:
    """What the page's frame embeds: our own files, and the charts' data as JSON that cannot end its element."""
    # S704: the texts are this package's own files, and the JSON has no character that HTML reads.
    scripts = [Script(Markup((_ASSETS / name).read_text(encoding="utf-8"))) for name in _SCRIPTS]  # noqa: S704
    style = "\n".join((_ASSETS / name).read_text(encoding="utf-8") for name in _STYLES)
    return {"scripts": scripts, "style": Markup(style), "charts": Markup(_json(charts))}  # noqa: S704


@dataclass(frozen=True, slots=True)
class Script:
    """An inline script, which the page's policy allows by its hash."""

    text: Markup

    @property
    def source(self) -> Markup:
        """Its source expression for the Content-Security-Policy."""
        digest = hashlib.sha256(self.text.encode("utf-8")).digest()
        return Markup("'sha256-{}'").format(base64.b64encode(digest).decode())


def _json(value: object) -> str:
    """Compact JSON in ASCII without `<`, `>` and `&`."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _most_mistakes(data: ReportData) -> int:
    """The largest count off the confusion matrix's diagonal, at least 1."""
    counts = data.mistakes.matrix.counts if data.mistakes else ()
    return max((count for at, row in enumerate(counts) for to, count in enumerate(row) if at != to), default=0) or 1


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} – {interval[1]:.4f}"


def _count(count: int, thing: str, things: str | None = None) -> str:
    return count_text(count, thing) if things is None or count == 1 else f"{count} {things}"


def _short_score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _short_interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.2f} – {interval[1]:.2f}"


def _share(value: float) -> str:
    """A probability as a whole percentage."""
    return f"{100 * value:.0f} %"


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
