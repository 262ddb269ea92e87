"""carsearch check: checks an experiment file, and this machine with --here."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.exit_codes import ERROR
from search.terminal.console import say, warn

File = Annotated[Path, typer.Argument(help="The experiment file.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change one key of the file; repeatable.")
]


def check(
    file: File,
    overrides: Overrides = None,
    here: Annotated[
        bool, typer.Option("--here", help="Also check photos, weights and hardware; exit 2 if `run` would refuse.")
    ] = False,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0.0, help="With --here: price of this machine per hour, to estimate the cost.")
    ] = None,
) -> None:
    """Check an experiment file: print every problem with its line, or what the search would do."""
    from search.experiment.experiment import load
    from search.experiment.portfolio import recipes

    if price_per_hour is not None and not here:
        raise typer.BadParameter("--price-per-hour: the cost is estimated for this machine: add --here")
    experiment = load(file, overrides or [])
    recipes(experiment)  # `run` reads these files first of all
    missing = ", ".join(dict.fromkeys(f"{one.key} ({one.message})" for one in experiment.missing_files()))
    say(f"{file}: ok, but not here: {missing}" if missing else f"{file}: ok")
    for line in experiment.summary_lines():
        say(f"  {line}")
    if not here:
        return
    from search.cli.commands.machine_check import check_machine

    found = check_machine(experiment, price_per_hour=price_per_hour)
    for line in found.lines:
        say(f"  {line}")
    for refusal in found.refusals:
        warn(f"carsearch: {refusal}")
    if found.refusals:
        raise typer.Exit(ERROR)
    say(f"next: carsearch {'train' if experiment.is_fixed else 'run'} {file}")
