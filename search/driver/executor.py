"""The seam between what decides and what trains. An executor owns the loop of a run."""

from typing import Protocol

from search.driver.dispatch import Dispatcher
from search.worker.segment import Segment


class Executor(Protocol):
    """Trains the segments that a dispatcher hands out, several at once, each in a process of its own.

    Implementations: `LocalExecutor` (this machine's processes), `search.on_ray.ray_executor.RayExecutor`.

    Threads: the dispatcher is called by one thread at a time, and between two calls of `run` by none.

    Order: a segment is recorded by `next_segment` before it starts. What its worker says is recorded through an `Inbox`
    in the order in which it was said, each message before the next one is read. Then comes one `segment_ended`, once
    the worker's process is gone: with the outcome that the worker told, or `killed` where it told none. The exception:
    a worker that the inbox tells to stop. Nothing has become of its segment, so its trial stays RUNNING, and the caller
    interrupts it.

    Ends: `run` returns once the dispatcher has said `finished` and no worker is left, and after a user's interrupt;
    then `dispatcher.stopping` says so. It raises what the dispatcher raised, and ClusterError, DiskFullError or
    StudyError where its own machinery gave up. No worker outlives the call, however it ends.
    """

    def run(self, dispatcher: Dispatcher[Segment]) -> None:
        """Trains until nothing is left to do or the run is told to stop."""
        ...
