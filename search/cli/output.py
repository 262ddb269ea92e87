"""How a command shows a search: a live view or lines, nothing, or JSON."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from search.terminal.console import console, divert_lines, write_line

if TYPE_CHECKING:
    from search.driver.callbacks import Progress
    from search.policy.records import TrialRecord

Quiet = Annotated[bool, typer.Option("--quiet", help="Print warnings and errors only.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line for each event, and nothing else; docs/events.md.")
]


class Output(StrEnum):
    """What goes to standard output."""

    PEOPLE = "people"
    NOTHING = "nothing"
    JSON = "json"


def chosen_output(*, quiet: bool, as_json: bool) -> Output:
    """The output that the options ask for. From then on, lines for people follow it too."""
    if quiet and as_json:
        raise typer.BadParameter("give --quiet or --json, not both")
    if quiet:
        divert_lines(lambda line: None)
        return Output.NOTHING
    if as_json:
        divert_lines(_message)
        return Output.JSON
    return Output.PEOPLE


def progress_for(output: Output, study: str, known: "Sequence[TrialRecord]") -> "AbstractContextManager[Progress]":
    """What shows a search. known: records of a resumed study."""
    from search.progress.json_lines import EventProgress, json_text
    from search.progress.live_table import open_progress

    match output:
        case Output.PEOPLE:
            return open_progress(console(), study, known)
        case Output.NOTHING:
            return EventProgress(study, lambda event: None, utc_now, known)
        case Output.JSON:
            return EventProgress(study, lambda event: write_line(json_text(event)), utc_now, known)


def utc_now() -> str:
    """The time of day, ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _message(line: str) -> None:
    from search.progress.json_lines import json_text
    from search.progress.search_events import Event

    write_line(json_text(Event("message", "", utc_now(), text=line)))
