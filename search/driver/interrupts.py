"""Ctrl-C: the first lets each running epoch end, the second ends the run at the next safe moment, a third at once.

SIGTERM, as from a machine that is about to stop, counts as a second one. Nothing here waits or takes a lock: the
handlers run between any two instructions of the driver.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

FINISHING = "\ncarsearch: stopping after this epoch; Ctrl-C again stops now (the epochs under way are then lost)\n"
INTERRUPTED = "interrupted"
"""Why a dispatcher was told to stop by the user."""
STOPPING = "\ncarsearch: stopping now\n"

_OURS = (signal.SIGINT, signal.SIGTERM)
_TUNES = signal.SIGUSR1
"""Tune sets a handler for it and leaves it behind."""


class Interrupts:
    """How often the user has asked for an end. `raise_if_due` is called wherever the driver may safely be ended."""

    def __init__(self, finishing: str = FINISHING, *, terminal: int = 2) -> None:
        """finishing: what the first Ctrl-C says. terminal: descriptor for what is said; stderr's may lead to a file."""
        self._finishing = finishing
        self._terminal = terminal
        self._times = 0
        self._on_first: Callable[[], None] = lambda: None
        self.error: Exception | None = None
        """Why the run was ended by `end_by`; None where it was not."""

    @property
    def asked(self) -> bool:
        """True once a signal came."""
        return self._times > 0

    @property
    def now(self) -> bool:
        """True once the run is to end without waiting for anybody."""
        return self._times > 1 or self.error is not None

    def raise_if_due(self) -> None:
        """Raises KeyboardInterrupt where the run is to end now: after anything else Tune tidies up, and waits."""
        if self.now:
            raise KeyboardInterrupt

    def end_by(self, error: Exception) -> None:
        """From any thread: the run ends at its next safe moment, for this reason."""
        self.error = self.error or error

    @contextmanager
    def heard(self, on_first: Callable[[], None]) -> Iterator[None]:
        """While inside, signals are counted, and the first Ctrl-C calls `on_first`. Nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._on_first = on_first
        before = {number: signal.getsignal(number) for number in (*_OURS, _TUNES)}
        for number in _OURS:
            signal.signal(number, self._heard)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self._times = counted(self._times, number)
        if self._times == 1:
            self._on_first()
            _say(self._finishing, self._terminal)
        elif self._times == 2:
            _say(STOPPING, self._terminal)
        else:
            raise KeyboardInterrupt


def counted(times: int, number: int) -> int:
    """How often an end was asked for, after one more signal. Pure."""
    return times + 1 if number == signal.SIGINT else max(times + 1, 2)


def _say(text: str, terminal: int) -> None:
    """Past Python's buffers, which the interrupted code may be in the middle of."""
    try:
        os.write(terminal, text.encode())
    except OSError:  # nobody listens any more
        return
