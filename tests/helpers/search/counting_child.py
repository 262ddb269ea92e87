"""A child that trains nothing and writes down when each of its epochs begins."""

from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from search.worker.child import run_in_child
from search.worker.outbox import Outbox
from search.worker.segment import Outcome, Segment
from tests.helpers.search.trial_builders import epoch_report

EPOCHS = 3


def note(study: Path, line: str) -> None:
    with (study / "order.txt").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def counting_child(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's main function."""
    run_in_child(
        partial(_count, Path(segment.study)),
        messages,
        lifeline,
        threads=1,
        output=Path(segment.study) / "trials" / "0000" / "output.log",
        outcome_of=lambda error: Outcome("failed", str(error)),
    )


def _count(study: Path, outbox: Outbox, _batch_server: object) -> None:
    for epoch in range(1, EPOCHS + 1):
        note(study, f"begins {epoch}")
        outbox.report(epoch_report(epoch))
