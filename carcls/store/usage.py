"""Counts this process's use of the store and measures build times, for epoch reports."""

import os
import threading
import time
from types import TracebackType
from typing import Self

from carcls.events import StoreUse


class BuildTimer:
    """Seconds of a block, without nested timers of the same thread and without explicitly excluded seconds."""

    own_s = 0.0
    """Set when the block ends."""

    def __enter__(self) -> Self:
        self._outer: BuildTimer | None = getattr(_running, "innermost", None)
        self._left_out_s = 0.0
        _running.innermost = self
        self._started_s = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed_s = time.perf_counter() - self._started_s
        self.own_s = max(0.0, elapsed_s - self._left_out_s)  # rounding may make the difference negative
        _running.innermost = self._outer
        exclude_seconds(elapsed_s)

    def exclude_seconds(self, seconds: float) -> None:
        """Subtracts seconds from this block."""
        self._left_out_s += seconds


class _Counter:
    """A thread-safe sum."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Resets the sum and the lock, which a thread of the parent may have held when this process was forked."""
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
"""`innermost`: the running timer that this thread started last."""
_counter = _Counter()
os.register_at_fork(after_in_child=_counter.clear)


def exclude_seconds(seconds: float) -> None:
    """Subtracts seconds from the build that this thread is in, if any: time that reusing the artefact does not save."""
    innermost: BuildTimer | None = getattr(_running, "innermost", None)
    if innermost is not None:
        innermost.exclude_seconds(seconds)


def count_built(build_s: float) -> None:
    """Counts an artefact built by this process in `build_s` seconds."""
    _counter.add(StoreUse(built=1, built_s=build_s))


def count_reused(build_s: float | None) -> None:
    """Counts a finished artefact opened by this process. build_s: seconds that its build took, or None if unknown."""
    _counter.add(StoreUse(reused=1, saved_s=build_s or 0.0))


def take_use() -> StoreUse:
    """Use of the store by all threads of this process since the last call. A forked child starts from zero."""
    return _counter.take()
