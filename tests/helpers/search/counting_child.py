"""Children that train nothing: one writes down when each of its epochs begins, one waits until it should move on."""

from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from carcls.errors import HandedOverError
from search.worker.child import outcome_of, run_in_child
from search.worker.outbox import Outbox
from search.worker.segment import Segment
from tests.helpers.search.trial_builders import epoch_report

EPOCHS = 3
SAVED = "saved after 1 of 3 batches"
LONG_S = 60.0


def note(study: Path, line: str) -> None:
    with (study / "order.txt").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def counting_child(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's main function."""
    _run(_count, segment, messages, lifeline)


def waiting_child(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The main function of a child in the middle of a long epoch."""
    _run(_wait, segment, messages, lifeline)


def _run(work: Callable[..., None], segment: Segment, messages: Connection, lifeline: Connection) -> None:
    run_in_child(
        partial(work, Path(segment.study)),
        messages,
        lifeline,
        threads=1,
        output=Path(segment.study) / "trials" / "0000" / "output.log",
        outcome_of=outcome_of,
    )


def _count(study: Path, outbox: Outbox, _batch_server: object) -> None:
    for epoch in range(1, EPOCHS + 1):
        note(study, f"begins {epoch}")
        outbox.report(epoch_report(epoch))


def _wait(study: Path, outbox: Outbox, _batch_server: object) -> None:
    if outbox.hand_over.wait(LONG_S):
        raise HandedOverError(SAVED)
