"""The interface between the dispatcher, which decides, and the executors, which train and own the loop of a run."""

from typing import Protocol

from search.driver.dispatch import Dispatcher
from search.worker.segment import Segment


class Executor(Protocol):
    """Trains the segments that a dispatcher hands out, several at once, each in its own process.

    Implementations: `LocalExecutor` (this machine's processes), `search.on_ray.ray_executor.RayExecutor`, and
    `search.simulator.virtual_executor.VirtualExecutor` (a virtual clock).

    Threads: one thread at a time calls the dispatcher, and only during `run`.

    Order: `next_segment` records a segment before it starts. An `Inbox` records the worker's messages in order, each
    one before the next is read. Once the worker's process is gone, the executor calls `segment_ended` once, with the
    outcome that the worker sent, or `killed` if it sent none. The exception is a worker that the inbox asks to stop:
    its segment has no outcome, so its trial stays RUNNING, and the caller interrupts it.

    Ends: `run` returns once the dispatcher has answered `finished` and no worker is left, or after a user's interrupt,
    which `dispatcher.stopping` says. It raises what the dispatcher raised, and ClusterError, DiskFullError or
    StudyError if the executor itself failed. No worker outlives the call, however it ends.
    """

    def run(self, dispatcher: Dispatcher[Segment]) -> None:
        """Train until nothing is left to do or the run is asked to stop."""
        ...
