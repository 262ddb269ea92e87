"""carsearch data: what concerns photos alone."""

from pathlib import Path
from typing import Annotated

import typer

from search.terminal import say

data_app = typer.Typer(help="Photos: make the sample data.", no_args_is_help=True)


@data_app.command("sample")
def data_sample(
    root: Annotated[Path, typer.Argument(help="Folder to draw into.")],
    seed: Annotated[int, typer.Option(help="Another seed, other photos of the same car models.")] = 0,
    train_per_class: Annotated[int, typer.Option(help="Photos to train on, for each model.")] = 80,
    test_per_class: Annotated[int, typer.Option(help="Photos to predict, for each model.")] = 30,
) -> None:
    """Draw the sample data: ten car models in the contest's layout."""
    from carcls.data.sample import write_sample

    write_sample(root, seed=seed, train_per_class=train_per_class, test_per_class=test_per_class)
    say(f"sample data: {root}")
