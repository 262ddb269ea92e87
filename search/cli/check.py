"""carsearch check: an experiment file, and what of it is on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from search.terminal.console import say, warn

File = Annotated[Path, typer.Argument(help="The experiment file.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change one key of the file; repeatable.")
]


def check(
    file: File,
    overrides: Overrides = None,
    here: Annotated[
        bool, typer.Option("--here", help="Look at photos, weights and hardware too; exit 2 where `run` would refuse.")
    ] = False,
) -> None:
    """Check an experiment file: every problem with its line, and what the search would do."""
    from search.experiment.experiment import load

    experiment = load(file, overrides or [])
    missing = ", ".join(dict.fromkeys(f"{one.key} ({one.message})" for one in experiment.missing_files()))
    say(f"{file}: ok, but not here: {missing}" if missing else f"{file}: ok")
    for line in experiment.summary_lines():
        say(f"  {line}")
    if not here:
        return
    from search.cli.here import look_here

    found = look_here(experiment)
    for line in found.lines:
        say(f"  {line}")
    for refusal in found.refusals:
        warn(f"carsearch: {refusal}")
    if found.refusals:
        raise typer.Exit(2)
    say(f"next: carsearch {'train' if experiment.is_fixed else 'run'} {file}")
