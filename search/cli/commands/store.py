"""carsearch store: the artefacts that trials on this node share."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from search.cli.exit_codes import FAILED
from search.terminal.console import say, warn
from search.terminal.formatting import size_text

store_app = typer.Typer(help="Shared artefacts on this node.", no_args_is_help=True)

Root = Annotated[
    Path | None,
    typer.Option(help="The store's folder; default: $CARSEARCH_STORE, else the user's cache."),
]


@store_app.callback()
def _group() -> None:
    """Shared artefacts on this node."""


@store_app.command("ls")
def store_ls(root: Root = None) -> None:
    """List what the store holds, least recently used first."""
    from carcls.store.inventory import compiled_bytes, survey
    from search.cli.commands.store_table import store_table

    folder = _root(root)
    entries = survey(folder)
    say(f"store: {folder}")
    for line in store_table(entries, now_unix_s=time.time()):
        say(line)
    if compiled := compiled_bytes(folder):
        say(f"and {size_text(compiled)} of compiled programs")


@store_app.command("verify")
def store_verify(root: Root = None) -> None:
    """Compare every artefact with its hash; name and remove damaged ones. Exit 1 if there were any."""
    from carcls.store.damage import verify

    folder = _root(root)
    verdicts = verify(folder)
    damaged = [verdict for verdict in verdicts if not verdict.is_whole]
    for verdict in damaged:
        warn(f"damaged: {verdict.path} ({verdict.name}); removed, its next use rebuilds it")
    say(f"store: {folder}: {len(verdicts)} checked, {len(damaged)} damaged")
    if damaged:
        raise typer.Exit(FAILED)


@store_app.command("clean")
def store_clean(
    root: Root = None,
    kind: Annotated[str | None, typer.Option(help="Only artefacts of this kind, such as pixels.")] = None,
    older_than_days: Annotated[float | None, typer.Option(min=0, help="Only artefacts unused for so long.")] = None,
) -> None:
    """Remove all artefacts that no process has open, and remains of dead processes."""
    from carcls.store.inventory import clean, survey

    folder = _root(root)
    age_s = None if older_than_days is None else timedelta(days=older_than_days).total_seconds()
    freed = clean(folder, kind=kind, unused_since_unix_s=None if age_s is None else time.time() - age_s)
    left = survey(folder)
    held = sum(entry.is_held for entry in left)
    say(f"store: {folder}: {freed:,} bytes freed, {len(left)} artefacts left, {held} of them in use")


def _root(given: Path | None) -> Path:
    from carcls.store import default_store_root

    return given or default_store_root()
