"""The page's charts as inline SVG: text stays text, lines use the page's text colour, and nothing is downloaded."""

import io
import re
from collections.abc import Sequence
from itertools import product
from math import ceil

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from search.report.page_data import Curve
from search.report.parameters import ParameterView
from search.terminal.formatting import one_line

WINNER, BASELINE = "#d9730d", "#2f7fd6"
"""Readable on light and dark backgrounds; the page's legend uses the same colours."""

_INK = "#010203"
"""Placeholder of the page's text colour, replaced by `currentColor`, which matplotlib does not know."""

_COLOURS = {"winner": WINNER, "baseline": BASELINE, "other": _INK}
_DRAWN_FIRST = ("other", "baseline", "winner")
_WIDTH_IN, _CURVES_HEIGHT_IN = 13.0, 5.0
_COLUMNS, _PANEL_HEIGHT_IN = 4, 2.3
_MAX_PANELS = 32
_LABEL_LENGTH, _PANEL_CHARACTERS = 18, 34
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 10.0,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    # Text between dollar signs in a user's name is no formula.
    "text.parse_math": False,
}


def curves_svg(curves: Sequence[Curve]) -> str:
    """Validation accuracy by epoch, with a dot at each stage's end and a cross at a failure; '' without curves."""
    if not curves:
        return ""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "curves"}):
        figure = Figure(figsize=(_WIDTH_IN, _CURVES_HEIGHT_IN), layout="constrained")
        axes = figure.add_subplot()
        for curve in sorted(curves, key=lambda curve: _DRAWN_FIRST.index(curve.role)):
            _draw_curve(axes, curve)
        for curve in curves:
            if curve.role == "winner":
                _draw_borders(axes, curve)
        axes.set_xlabel("epoch")
        axes.set_ylabel("validation accuracy")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.02)
        _grid(axes)
        return _svg(figure, "Validation accuracy of every trial by epoch")


def _draw_curve(axes: Axes, curve: Curve) -> None:
    epochs, accuracies = zip(*curve.points, strict=True)
    colour, other = _COLOURS[curve.role], curve.role == "other"
    alpha, width = (0.3, 0.9) if other else (1.0, 2.0)
    ends = {epoch for epoch, _ in curve.borders}
    marks = [at for at, epoch in enumerate(epochs) if epoch in ends]
    axes.plot(epochs, accuracies, color=colour, alpha=alpha, lw=width, marker="o", ms=3 if other else 5, mew=0,
              markevery=marks)  # fmt: skip
    if curve.failed:
        axes.plot(epochs[-1], accuracies[-1], color=colour, alpha=0.7, marker="x", ms=6)


def _draw_borders(axes: Axes, winner: Curve) -> None:
    """The winner's stages: a thin line at each end, with the stage's name to its left."""
    for epoch, name in winner.borders:
        axes.axvline(epoch, color=_INK, alpha=0.35, lw=0.8, ls=(0, (2, 3)), zorder=0)
        axes.annotate(
            one_line(name), (epoch, 1.0), xycoords=("data", "axes fraction"), xytext=(-4, 2),
            textcoords="offset points", ha="right", va="bottom", fontsize=9, alpha=0.75,
        )  # fmt: skip


def parameters_svg(views: Sequence[ParameterView]) -> str:
    """One scatter plot per parameter, for the first 32; hollow marks for incomplete trials; '' without parameters."""
    shown = views[:_MAX_PANELS]
    if not shown:
        return ""
    rows = ceil(len(shown) / _COLUMNS)
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "parameters"}):
        room_for_titles = ConstrainedLayoutEngine(h_pad=0.1, hspace=0.04)
        figure = Figure(figsize=(_WIDTH_IN, _PANEL_HEIGHT_IN * rows), layout=room_for_titles)
        panels = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False).ravel()
        for axes, view in zip(panels, shown, strict=False):
            _draw_panel(axes, view)
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        return _svg(figure, "Best validation accuracy by the value of each parameter")


def _draw_panel(axes: Axes, view: ParameterView) -> None:
    # One call per kind of mark, with the winner's last, so that it is on top.
    for role, complete in product(_DRAWN_FIRST, (False, True)):
        points = [point for point in view.points if (point.role, point.complete) == (role, complete)]
        colour, other = _COLOURS[role], role == "other"
        axes.plot(
            [point.x for point in points], [point.accuracy for point in points], ls="none", marker="o", color=colour,
            ms=4.5 if other else 7, mfc=colour if complete else "none", mew=0.9, alpha=0.5 if other else 1.0,
        )  # fmt: skip
    axes.set_title(_short(one_line(view.name.removeprefix("train.")), _PANEL_CHARACTERS))
    if view.scale == "log":
        axes.set_xscale("log")
        # The default labels are formulas, which are switched off.
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    if view.categories:
        labels = [_short(label, _LABEL_LENGTH) for label in view.categories]
        crowded = sum(len(label) + 2 for label in labels) > _PANEL_CHARACTERS
        axes.set_xticks(range(len(labels)), labels, rotation=30 if crowded else 0, ha="right" if crowded else "center")
        axes.set_xlim(-0.5, len(labels) - 0.5)
    _grid(axes)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _grid(axes: Axes) -> None:
    axes.grid(visible=True, color=_INK, alpha=0.1, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _svg(figure: Figure, label: str) -> str:
    """The figure as an <svg> element without prologue, metadata, and ids that two charts would share."""
    FigureCanvasSVG(figure)
    target = io.StringIO()
    figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
    svg = target.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)
    return svg.replace(_INK, "currentColor").replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
