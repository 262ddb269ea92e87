"""carsearch lr: a learning-rate range test of each stage of an experiment file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.commands.check import File, Overrides
from search.terminal.console import say

if TYPE_CHECKING:
    from carcls.training.rate_test import StageRates


def lr(
    file: File,
    overrides: Overrides = None,
    *,
    low: Annotated[float, typer.Option("--from", min=1e-12, max=10.0, help="The first learning rate.")] = 1e-6,
    high: Annotated[float, typer.Option("--to", min=1e-12, max=1000.0, help="The last learning rate.")] = 1.0,
    steps: Annotated[int, typer.Option(min=10, max=10_000, help="Steps of each stage at most.")] = 100,
    output: Annotated[
        Path | None, typer.Option(help="The page to write; default: beside the file, as NAME.lr.html.")
    ] = None,
) -> None:
    """Suggest a learning rate for each stage: train briefly with a rising rate until the loss diverges.

    Tests the recipe, or the baseline of a file with domains, on the first GPU if there is one. Writes a page with the
    curves, and their numbers as JSON beside it. No study and no store changes.
    """
    from search.experiment.experiment import load
    from search.terminal.logs import redirect_native_stderr

    if low >= high:
        raise typer.BadParameter(f"--from {low:g} must be below --to {high:g}")
    experiment = load(file, overrides or [])
    target = file.with_suffix(".lr.html") if output is None else output
    if not target.parent.is_dir():
        raise typer.BadParameter(f"--output {target}: the folder {target.parent} does not exist")
    redirect_native_stderr(Path(os.devnull))
    from carcls.system.atomic import write_text
    from search.rates import results
    from search.rates.run import run_rate_test

    def told(one: "StageRates") -> None:
        found = "no clear fall of the loss" if one.suggestion is None else f"suggestion {one.suggestion:.1e}"
        say(f"stage {one.stage}: {len(one.losses)} steps in {one.batches}, {found}")

    config, found = run_rate_test(
        experiment,
        low=low,
        high=high,
        steps=steps,
        on_device=lambda device: say(f"device: {device}"),
        on_stage=told,
    )
    for line in results.table(found):
        say(line)
    write_text(target, results.page(experiment.name, f"{config.backbone}, {config.optimizer.kind}", found))
    write_text(target.with_suffix(".json"), results.as_json(experiment.name, found))
    for hint in results.hints(found):
        say(hint)
    say(f"page: {target}")
    space = experiment.space
    for line in results.for_file(found, {name: space.domains[name] for name in space.active(experiment.baseline)}):
        say(line)
