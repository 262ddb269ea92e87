"""What a worker on a node does with a segment: fetches the trial's files if need be, checks the node, trains."""

from collections.abc import Callable, Generator
from multiprocessing.connection import Connection

from search.experiment.file.paths import is_url
from search.worker.node_check import node_fault
from search.worker.segment import Message, Segment
from search.worker.supervisor import worker_messages


def node_messages(
    segment: Segment, main: Callable[[Segment, Connection, Connection], None], *, is_leaving: Callable[[], bool]
) -> Generator[Message, None, None]:
    """The messages of a segment, the outcome last; see `worker_messages`. Close the generator to end the training."""

    def run(local: Segment, often: Callable[[], None]) -> Generator[Message, None, None]:
        if fault := node_fault(local):
            yield fault
        else:
            yield from worker_messages(local, main, raise_if_due=often, is_leaving=is_leaving)

    if is_url(segment.study):
        from search.worker.stored_trial import stored_messages  # noqa: PLC0415 - pyarrow, only for URLs

        yield from stored_messages(segment, run)
    else:
        yield from run(segment, lambda: None)
