"""What a learning-rate range test tells: lines for the terminal, JSON, and a page with a chart of each stage. Pure."""

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from math import floor, isfinite, log10
from typing import TYPE_CHECKING, Any

from carcls.training.steps.rate_range import DIVISOR, smoothed
from search.experiment.domains import Domain
from search.terminal.text_table import table_lines

if TYPE_CHECKING:
    from carcls.training.rate_test import StageRates

_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 16, 48
_CLIP = 2.0
"""Multiple of the smoothed loss above which the chart is cut, of its first value or that which nine tenths of it are
below: diverging losses would dwarf the rest."""

RULE = (
    f"The suggestion is the rate of the lowest smoothed loss divided by {DIVISOR:g}"
    " (range test of Smith 2017; rule of fastai's lr_find)."
)


def table(found: Sequence["StageRates"]) -> list[str]:
    """Lines for the terminal: a row for each stage."""
    rows = [("stage", "steps", "lowest loss", "at rate", "diverged at", "suggestion", "in the file")]
    for one in found:
        lowest = _lowest(one)
        rows.append(
            (
                one.stage,
                str(len(one.losses)),
                "-" if lowest is None else f"{lowest[1]:.3f}",
                "-" if lowest is None else f"{lowest[0]:.1e}",
                f"{one.rates[-1]:.1e}" if one.diverged else "-",
                "none: no clear fall" if one.suggestion is None else f"{one.suggestion:.1e}",
                f"{one.configured:.1e}",
            )
        )
    return table_lines(rows)


def overrides(found: Sequence["StageRates"]) -> str:
    """The suggestions as a tree for the experiment file; empty without any."""
    named = [f"{one.stage}: {{learning_rate: {_short(one)}}}" for one in found if one.suggestion is not None]
    return f"stages: {{{', '.join(named)}}}" if named else ""


def for_file(found: Sequence["StageRates"], domains: Mapping[str, Domain]) -> list[str]:
    """Lines that say where the suggestions go: into the baseline for rates that are searched, else into `train`.

    domains: those of the baseline's parameters, by name.
    """
    known = [one for one in found if one.suggestion is not None]
    names = {one.stage: _rate_of(one.stage, domains) for one in known}
    fitting = [one for one in known if (name := names[one.stage]) and float(_short(one)) in domains[name]]
    lines = []
    if fitting:
        text = overrides(fitting)
        # An option that brings its own stages stands around them in the baseline too.
        for key in reversed((names[fitting[0].stage] or "").split(".stages.")[0].split(".")[1:]):
            text = f"{key}: {{{text}}}"
        lines.append(f"for search.baseline: {text}")
    for one in known:
        name = names[one.stage]
        if name is None:
            lines.append(f"for train, stage {one.stage}: learning_rate: {_short(one)}")
        elif one not in fitting:
            lines.append(
                f"stage {one.stage}: {_short(one)} is outside its domain in train, {domains[name]}: change that first"
            )
    return lines


def _rate_of(stage: str, domains: Mapping[str, Domain]) -> str | None:
    """Name of the parameter that is a stage's rate, or None if the file fixes it."""
    return next((name for name in domains if name.endswith(f".stages.{stage}.learning_rate")), None)


def _short(one: "StageRates") -> str:
    return f"{one.suggestion:.1e}"


def hints(found: Sequence["StageRates"]) -> list[str]:
    """What to try where a test says little."""
    told = []
    for one in found:
        if one.suggestion is None:
            told.append(
                f"stage {one.stage}: its loss never clearly fell; try more --steps, or a lower --from. It may have"
                " little left to learn"
            )
        elif not one.diverged and one.rates[-1] < DIVISOR * (_lowest(one) or (0.0, 0.0))[0]:
            told.append(f"stage {one.stage}: it did not diverge, so a higher rate may suit it; try a higher --to")
    return told


def as_json(name: str, found: Sequence["StageRates"]) -> str:
    """All numbers. A loss that is not finite is null."""
    stages: list[dict[str, Any]] = [
        {
            "stage": one.stage,
            "image_size": one.image_size,
            "batch_size": one.batch_size,
            "suggestion": one.suggestion,
            "configured": one.configured,
            "diverged": one.diverged,
            "rates": list(one.rates),
            "losses": [_finite(loss) for loss in one.losses],
            "smoothed_losses": [_finite(loss) for loss in smoothed(one.losses).tolist()],
        }
        for one in found
    ]
    return json.dumps({"name": name, "rule": RULE, "stages": stages}, indent=2, allow_nan=False) + "\n"


def page(name: str, what: str, found: Sequence["StageRates"]) -> str:
    """A self-contained HTML page. what: in a few words, what all stages have in common."""
    charts = "\n".join(_section(one) for one in found)
    title = f"Learning rates of {html.escape(name)}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #2563eb; --mark: #c2410c; --faint: #8888; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }}
svg {{ width: 100%; height: auto; }}
svg text {{ font: 12px system-ui, sans-serif; fill: currentColor; }}
@media (max-width: 40rem) {{ svg text {{ font-size: 19px; }} }}
.raw {{ fill: none; stroke: var(--faint); }}
.curve {{ fill: none; stroke: var(--line); stroke-width: 2; }}
.grid {{ stroke: var(--faint); stroke-width: 0.5; }}
.mark {{ stroke: var(--mark); stroke-width: 1.5; }}
.own {{ stroke: currentColor; stroke-dasharray: 4 3; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{html.escape(what)}. {html.escape(RULE)} Blue: the smoothed loss. Grey: the loss of each batch.</p>
{charts}
</body>
</html>
"""


def _section(one: "StageRates") -> str:
    suggested = (
        "No suggestion: no clear fall of the loss" if one.suggestion is None else f"Suggested {one.suggestion:.1e}"
    )
    ended = f", diverged at {one.rates[-1]:.1e}" if one.diverged else ""
    told = f"{suggested}, in the file {one.configured:.1e}{ended}. Tested in {one.batches}."
    return f"<h2>{html.escape(one.stage)}</h2>\n<p>{told}</p>\n{_chart(one)}"


def _chart(one: "StageRates") -> str:
    """The loss against the rate on a logarithmic axis."""
    curve = smoothed(one.losses).tolist()
    course = [loss for loss in curve if isfinite(loss)]
    if not course:
        return "<p>No finite loss.</p>"
    top = _CLIP * max(course[0], sorted(course)[(9 * len(course) - 1) // 10])
    known = [min(loss, top) for loss in (*curve, *one.losses) if isfinite(loss)]
    low, high = min(known), max(known)
    high = high if high > low else low + 1.0
    left, right = log10(one.rates[0]), log10(one.rates[-1])
    right = right if right > left else left + 1.0

    def x(rate: float) -> float:
        share = min(1.0, max(0.0, (log10(rate) - left) / (right - left)))
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(loss: float) -> float:
        return _TOP + (high - min(loss, high)) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def points(losses: Sequence[float]) -> str:
        pairs = zip(one.rates, losses, strict=True)
        return " ".join(f"{x(rate):.1f},{y(loss):.1f}" for rate, loss in pairs if isfinite(loss))

    def upright(rate: float, kind: str) -> str:
        return f'<line class="{kind}" x1="{x(rate):.1f}" x2="{x(rate):.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'

    ticks = [10.0**power for power in range(round(left + 0.499), round(right - 0.499) + 1)]
    parts = [
        *(upright(tick, "grid") for tick in ticks),
        *(f'<text x="{x(tick):.1f}" y="{_HEIGHT - 28}" text-anchor="middle">{tick:.0e}</text>' for tick in ticks),
        *_loss_ticks(low, high, y),
        f'<polyline class="raw" points="{points(one.losses)}"/>',
        f'<polyline class="curve" points="{points(curve)}"/>',
        upright(one.configured, "own"),
        *([upright(one.suggestion, "mark")] if one.suggestion is not None else []),
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 4}" text-anchor="middle">learning rate'
        " (orange: suggested, dashed: in the file)</text>",
    ]
    label = f"Loss against learning rate, stage {html.escape(one.stage)}"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _loss_ticks(low: float, high: float, y: Any) -> Iterator[str]:  # noqa: ANN401 - a function of a loss
    decimals = max(0, 2 - floor(log10(max(abs(low), abs(high)))))
    for share in (0.0, 0.5, 1.0):
        loss = low + share * (high - low)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(loss):.1f}" y2="{y(loss):.1f}"/>'
        told = f"{round(loss, decimals) + 0.0:.{decimals}f}"  # 0.0 is added to -0.0
        yield f'<text x="{_LEFT - 6}" y="{y(loss) + 4:.1f}" text-anchor="end">{told}</text>'


def _lowest(one: "StageRates") -> tuple[float, float] | None:
    """Rate and value of the lowest smoothed loss."""
    pairs = [
        (loss, rate) for rate, loss in zip(one.rates, smoothed(one.losses).tolist(), strict=True) if isfinite(loss)
    ]
    loss, rate = min(pairs, default=(0.0, 0.0))
    return (rate, loss) if pairs else None


def _finite(loss: float) -> float | None:
    return loss if isfinite(loss) else None
