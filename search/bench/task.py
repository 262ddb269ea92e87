"""What a measuring child is told."""

from dataclasses import dataclass
from typing import Protocol


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
