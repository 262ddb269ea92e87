"""carsearch trial: stop, promote or add a trial, while a search runs or between runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.actions import open_study
from search.terminal.console import say

if TYPE_CHECKING:
    from search.experiment.experiment import Experiment
    from search.experiment.file.yaml_source import Plain
    from search.study.folder import StudyFolder
    from search.study.requests import Request

trial_app = typer.Typer(help="Stop, promote or add a trial of a search.", no_args_is_help=True)

StudyArgument = Annotated[Path, typer.Argument(help="The study's folder, such as results/cars.", show_default=False)]
Number = Annotated[int, typer.Argument(min=0, help="The trial's number.", show_default=False)]


@trial_app.callback()
def _group() -> None:
    """Stop, promote or add a trial of a search, while it runs or between runs."""


@trial_app.command("stop")
def trial_stop(study: StudyArgument, number: Number) -> None:
    """End a trial after its running epoch. It keeps its scores, and the sampler learns from them."""
    from search.study.requests import Stop

    folder, experiment = open_study(study)
    _ask(folder, experiment, Stop(number), f"trial {number:04d} is stopped", "ends it after its running epoch")


@trial_app.command("promote")
def trial_promote(study: StudyArgument, number: Number) -> None:
    """Send a trial one rung further than it goes by itself, whatever the comparison there says."""
    from search.driver.steering import promotion
    from search.study.study import Study

    folder, experiment = open_study(study)
    request = promotion(Study.open(folder.root, read_only=True).record(number))
    goal = f"trial {number:04d} goes on to the end of stage {request.stage + 1}"
    _ask(folder, experiment, request, goal, "sends it there")


@trial_app.command("add")
def trial_add(
    study: StudyArgument,
    *,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Value of a searched parameter; repeatable.")
    ] = None,
    like: Annotated[int | None, typer.Option(min=0, help="Start from this trial instead of the baseline.")] = None,
) -> None:
    """Train a configuration of your own as a trial: the baseline or another trial with some values changed.

    It counts as one of search.trials and climbs the rungs like any other. A finished search takes it up with `carsearch
    resume`.
    """
    from search.driver.steering import new_trial
    from search.study.study import Study
    from search.terminal.formatting import params_text

    folder, experiment = open_study(study)
    base = experiment.baseline
    if like is not None:
        base = Study.open(folder.root, read_only=True).record(like).params
    request = new_trial(experiment, base, _parsed(changes or []))
    _ask(folder, experiment, request, f"added: {params_text(request.params)}", "adds it to the trials")


def _parsed(changes: list[str]) -> "dict[str, Plain]":
    from search.errors import ExperimentError, Problem
    from search.experiment.file.yaml_source import parse_value

    values = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name.strip():
            problem = Problem(f"--set {change}", name or "--set", "expected KEY=VALUE, such as head.dropout=0.3")
            raise ExperimentError((problem,))
        values[name.strip()] = parse_value(text, f"--set {change}")
    return values


def _ask(folder: "StudyFolder", experiment: "Experiment", request: "Request", done: str, later: str) -> None:
    """Records the request and says what follows. done: what holds once it is recorded. later: what the driver does."""
    from search.driver.steering import ask

    number = ask(folder, experiment, request)
    if number is None:
        say(f"asked: the running search {later}; if it has just ended, 'carsearch resume {folder.root}' does")
        return
    say(f"trial {number:04d} {done}" if done.startswith("added") else done)
    say(f"next: carsearch resume {folder.root}")
