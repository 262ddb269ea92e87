"""Entry point of a measuring child. Imports no framework, because a child imports its main function's module first."""

from collections.abc import Callable
from multiprocessing.connection import Connection

from search.bench.task import FeedTask, Gate, StepTask
from search.worker.entry import import_or_report
from search.worker.segment import Segment


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
