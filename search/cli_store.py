"""carsearch store: the artefacts that trials share on this node."""

import typer

from search.terminal import say

store_app = typer.Typer(help="Shared artefacts on this node.", no_args_is_help=True)


@store_app.callback()
def _group() -> None:
    """Shared artefacts on this node."""


@store_app.command("ls")
def store_ls() -> None:
    """The store's artefacts."""
    from carcls.data.store import default_store_root

    say(f"store: {default_store_root()}")
