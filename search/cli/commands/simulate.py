"""carsearch simulate: simulates searches on recorded curves."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from search.terminal.console import say, warn

if TYPE_CHECKING:
    from rich.table import Table

    from search.experiment.experiment import Experiment
    from search.policy.rungs import Ladder
    from search.simulator.blackboxes import RecordedCurves
    from search.simulator.forecast import Forecast

_FIRST_LINE = 2
"""Line of a curves file with the first curve."""
_DEFAULT_TRAININGS = 16.0
_NONE = "none"
_ADAPTIVE = "adaptive-"
_RUNGS = ("2", "3", "4", f"{_ADAPTIVE}3", _NONE)


def simulate(
    file: Annotated[Path, typer.Argument(help="The experiment file.", show_default=False)],
    *,
    curves: Annotated[Path, typer.Option(help="Recorded curves, as `carsearch record` writes them.")],
    workers: Annotated[int, typer.Option(min=1, help="Trials that run at once.")] = 4,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Budget: hours of training of all workers together.")
    ] = None,
    budget_trainings: Annotated[
        float | None,
        typer.Option(min=0, help=f"Budget: in full trainings of average length; default: {_DEFAULT_TRAININGS:g}."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of simulated searches to average.")] = 20,
    rungs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N | adaptive-N | none",
            help="Keep the best 1/N after each stage (N), only at rungs that rank like the last one (adaptive-N), or"
            " all (none); repeatable, with a row for each. The first rung is the experiment's.",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change one key of the file; repeatable.")
    ] = None,
) -> None:
    """Simulate whole searches on recorded curves, to compare budgets and rungs."""
    from rich.console import Console

    from search.experiment.experiment import load
    from search.simulator.forecast import forecast
    from search.terminal import logs

    experiment = load(file, overrides or [])
    first_rung = experiment.search.scheduler.first_rung - 1
    ladders = {name: _ladder(name, first_rung) for name in rungs or _RUNGS}
    logs.setup()
    blackbox = recorded(experiment, curves)
    budget_s = _budget_s(blackbox, hours, budget_trainings)
    console = Console()
    for line in _opening(experiment, blackbox, budget_s=budget_s, workers=workers, seeds=seeds):
        say(line)
    found = {}
    for name, ladder in ladders.items():
        with console.status(f"simulating: rungs {name}"):
            found[name] = forecast(
                blackbox,
                ladder,
                sampler=experiment.search.sampler,
                workers=workers,
                budget_s=budget_s,
                seeds=range(seeds),
            )
    console.print(table(found))
    if any(one.ran_out for one in found.values()):
        warn(
            "warning: some searches used all recorded configurations, where a real one would continue:"
            " record more for this budget"
        )


def recorded(experiment: "Experiment", curves: Path) -> "RecordedCurves":
    """The curves of a file. Raises CurvesError naming file, line and parameter if they do not fit the experiment."""
    from search.errors import CurvesError
    from search.simulator.blackboxes import RecordedCurves
    from search.simulator.curves import read_curves

    found = read_curves(curves)
    for line, curve in enumerate(found, start=_FIRST_LINE):
        for name, wrong in experiment.space.problems(curve.params):
            raise CurvesError(
                f"{curves}:{line}: {name}: {wrong} (the space of {experiment.path}); expected curves recorded from this"
                " space: simulate with the experiment that was recorded, or record this one"
            )
    if not found:
        raise CurvesError(f"{curves}: holds no curve; record some with `carsearch record {experiment.path}`")
    return RecordedCurves(experiment.space, [curve.ranked_by(experiment.search.ranking) for curve in found])


def table(found: "dict[str, Forecast]") -> "Table":
    """A table with a row for each ladder."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for title in ("rungs", "holdout accuracy", "± s.e.", "started", "finished", "cost", "best at"):
        shown.add_column(title, justify="right", no_wrap=True)
    for name, one in found.items():
        shown.add_row(name, *_cells(one))
    return shown


def _cells(one: "Forecast") -> Sequence[str]:
    from search.terminal.formatting import duration_text

    return (
        "-" if one.holdout_accuracy is None else f"{one.holdout_accuracy:.4f}",
        "-" if one.standard_error is None else f"{one.standard_error:.4f}",
        f"{one.started:.1f}",
        f"{one.finished:.1f}",
        duration_text(one.cost_s),
        "-" if one.last_improvement_s is None else duration_text(one.last_improvement_s),
    )


def _ladder(name: str, first_rung: int) -> "Ladder":
    from search.policy.rungs import Ladder

    if name == _NONE:
        return Ladder(2, prunes=False)
    factor = name.removeprefix(_ADAPTIVE)
    if not factor.isdecimal() or int(factor) < 2:
        raise typer.BadParameter(
            f"expected N or {_ADAPTIVE}N, N a whole number of 2 or more, or {_NONE}; found {name!r}"
        )
    return Ladder(int(factor), first_rung=first_rung, adaptive=factor != name)


def _budget_s(blackbox: "RecordedCurves", hours: float | None, trainings: float | None) -> float:
    if hours is not None and trainings is not None:
        raise typer.BadParameter("give --hours or --budget-trainings, not both")
    if hours is not None:
        return hours * 3600
    return (_DEFAULT_TRAININGS if trainings is None else trainings) * _training_s(blackbox)


def _training_s(blackbox: "RecordedCurves") -> float:
    """Mean seconds of a complete training. Raises CurvesError if there is none."""
    from search.errors import CurvesError

    whole = [row[0].seconds for row in blackbox.rows if not row[0].infeasible]
    if not whole:
        raise CurvesError("no recorded training reached its end: record more")
    return fmean(whole)


def _opening(
    experiment: "Experiment", blackbox: "RecordedCurves", *, budget_s: float, workers: int, seeds: int
) -> tuple[str, ...]:
    from search.terminal.formatting import duration_text

    training_s = _training_s(blackbox)
    spent = f"{duration_text(budget_s)} of all workers' training = {budget_s / training_s:.1f} full trainings"
    return (
        f"{blackbox.size} recorded configurations; mean full training: {duration_text(training_s)}",
        f"budget: {spent}; workers: {workers}",
        f"means over {seeds} searches by {experiment.search.sampler}; no finals; the best 1/N of a stage continue",
    )
