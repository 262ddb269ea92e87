"""What a measuring child is told, and its entry point. Imports no framework."""

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

from search.worker.entry import import_or_report
from search.worker.segment import Segment


class Gate(Protocol):
    """A barrier of `multiprocessing`."""

    def wait(self, timeout: float | None = None) -> int:
        """Blocks until every party waits. Raises BrokenBarrierError."""


@dataclass(frozen=True, slots=True)
class StepTask:
    """Training steps; the configuration is the segment's."""

    output: str
    """File for what the process prints."""
    steps: int | None
    """Timed steps; None: as many as take a few seconds."""
    memory_bytes: int | None
    """Limit of the process's own memory on a CPU, or None."""


@dataclass(frozen=True, slots=True)
class FeedTask:
    """Photos to batches, with the segment's threads."""

    output: str


def measure_main(
    task: StepTask | FeedTask, gate: Gate | None, segment: Segment, messages: Connection, lifeline: Connection
) -> None:
    """The child's main function; see `search.bench.child`."""
    run = import_or_report(_run_measurement, messages)
    if run is not None:
        run(task, gate, segment, messages, lifeline)


def _run_measurement() -> Callable[..., None]:
    from search.bench.child import run_measurement  # noqa: PLC0415 - brings the framework, which the command must not load

    return run_measurement
