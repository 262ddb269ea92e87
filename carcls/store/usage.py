"""How much this process has had from the store, and how long builds take: what an epoch's report tells of it."""

import os
import threading
import time
from types import TracebackType
from typing import Self

from carcls.events import StoreUse


class Stopwatch:
    """Seconds of a block, without stopwatches that the same thread runs inside it, and whatever else is left out."""

    own_s = 0.0
    """Known once the block has ended."""

    def __enter__(self) -> Self:
        self._outer: Stopwatch | None = getattr(_running, "innermost", None)
        self._left_out_s = 0.0
        _running.innermost = self
        self._started_s = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed_s = time.perf_counter() - self._started_s
        self.own_s = max(0.0, elapsed_s - self._left_out_s)  # sums of floats may miss each other in the last bit
        _running.innermost = self._outer
        leave_out(elapsed_s)

    def leave_out(self, seconds: float) -> None:
        """So much of the block does not count."""
        self._left_out_s += seconds


class _Counter:
    """A sum that any thread adds to."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """With a lock of its own: a forked child may have got one that some thread of its parent held."""
        self._lock = threading.Lock()
        self._sum = StoreUse()

    def add(self, use: StoreUse) -> None:
        with self._lock:
            self._sum += use

    def take(self) -> StoreUse:
        with self._lock:
            taken, self._sum = self._sum, StoreUse()
        return taken


_running = threading.local()
"""`innermost`: the stopwatch that this thread started last of those that still run."""
_counter = _Counter()
os.register_at_fork(after_in_child=_counter.clear)


def leave_out(seconds: float) -> None:
    """The build that this thread is in, if any, counts so much less: what its artefact spares nobody."""
    innermost: Stopwatch | None = getattr(_running, "innermost", None)
    if innermost is not None:
        innermost.leave_out(seconds)


def count_built(build_s: float) -> None:
    """This process has built an artefact, in so many seconds."""
    _counter.add(StoreUse(built=1, built_s=build_s))


def count_reused(build_s: float | None) -> None:
    """This process has opened a finished artefact, whose build had taken so long; None: nobody measured it."""
    _counter.add(StoreUse(reused=1, saved_s=build_s or 0.0))


def take_use() -> StoreUse:
    """What all threads of this process had from its stores since the call before. A forked child begins at nothing."""
    return _counter.take()
