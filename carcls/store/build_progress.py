"""Log lines about long builds, such as 'building pixels 224 px: 3,200/15,561', and about waiting for one.

They also serve as heartbeats: a trial whose process is silent for too long is considered stuck.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY_S = 5.0
_WAITING_EVERY_S = 30.0

_log = logging.getLogger(__name__)


class Progress:
    """Counts finished items and logs a line every few seconds; logs nothing for a shorter build.

    Not thread-safe: call it from the thread that collects the results.
    """

    def __init__(self, what: str, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._done, self._told = 0, False
        self._started = self._last = clock()

    def add(self, count: int) -> None:
        """Notes that `count` more items are done."""
        self._done += count
        now = self._clock()
        if self._told and self._done == self._total:
            _log.info("built %s: %s in %.0f s", self._what, f"{self._total:,}", now - self._started)
        elif now - self._last >= _EVERY_S and self._done < self._total:
            _log.info("building %s: %s", self._what, f"{self._done:,}/{self._total:,}")
            self._told, self._last = True, now


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Logs that this process waits for another one's build, and repeats that while the block lasts."""
    is_over = threading.Event()

    def say() -> None:
        while not is_over.wait(_WAITING_EVERY_S):
            _log.info("%s", line)

    line = f"waiting for {what}: another process builds it"
    _log.info("%s", line)
    thread = threading.Thread(target=say, name="store-waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
