"""Plots of a study as matplotlib figures, made without pyplot, so that none stays open."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.policy.records import TrialRecord, TrialState, searched
from search.progress.status_view import best_so_far

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE_IN = (7.0, 4.0)
_COLOURS = {TrialState.COMPLETE: "tab:green", TrialState.FAIL: "tab:red", TrialState.RUNNING: "tab:blue"}
_OTHER = "tab:gray"


def curves_figure(records: Sequence[TrialRecord]) -> "Figure":
    """Validation accuracy per epoch: complete trials green, running ones blue, failed ones red, others grey."""
    figure, axes = _axes("epoch", "validation accuracy")
    for record in searched(records):
        epochs = [report.epoch for report in record.reports]
        accuracies = [report.val_accuracy for report in record.reports]
        colour = _COLOURS.get(record.state, _OTHER)
        axes.plot(epochs, accuracies, marker=".", linewidth=1, color=colour, label=f"trial {record.number:04d}")
    return figure


def best_figure(records: Sequence[TrialRecord]) -> "Figure":
    """Best validation accuracy of the first one, two, ... trials."""
    figure, axes = _axes("trials", "best validation accuracy so far")
    best = best_so_far(records)
    axes.step(range(1, len(best) + 1), best, where="post")
    return figure


def parameter_figure(records: Sequence[TrialRecord], name: str, *, log: bool) -> "Figure":
    """The trials' best accuracy against one parameter, by its full name. Raises KeyError if no trial has it."""
    points = [
        (record.params[name], record.best.val_accuracy)
        for record in searched(records)
        if record.best and name in record.params
    ]
    if not points:
        known = sorted({key for record in records for key in record.params})
        raise KeyError(f"no trial has the parameter {name!r}; expected one of {', '.join(known) or 'none'}")
    figure, axes = _axes(name.removeprefix("train."), "best validation accuracy")
    values, accuracies = zip(*points, strict=True)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    axes.scatter(values if numbers else [str(value) for value in values], accuracies)
    if log and numbers:
        axes.set_xscale("log")
    return figure


def _axes(x: str, y: str) -> "tuple[Figure, Axes]":
    from search.api.notebook_figure import NotebookFigure  # noqa: PLC0415 - matplotlib, only for figures

    figure = NotebookFigure(figsize=_SIZE_IN, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes
