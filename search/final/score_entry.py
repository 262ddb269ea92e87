"""Entry point of the process that scores a final training.

It is a module of its own because a child imports its main function's module, and the command must not import a
framework.
"""

from collections.abc import Callable
from multiprocessing.connection import Connection

from search.final.score_job import ScoreJob
from search.worker.entry import import_or_report
from search.worker.segment import Segment


def score_main(job: ScoreJob, segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's main function; see `search.final.score_child`."""
    run_scoring = import_or_report(_run_scoring, messages)
    if run_scoring is not None:
        run_scoring(job, segment, messages, lifeline)


def _run_scoring() -> Callable[[ScoreJob, Segment, Connection, Connection], None]:
    from search.final.score_child import run_scoring  # noqa: PLC0415 - brings TensorFlow, which the command must not load

    return run_scoring
