"""Handles Ctrl-C and SIGTERM.

The first Ctrl-C lets each running epoch finish, the second ends the run at the next safe point, and the third ends it
at once. SIGTERM, as sent by a machine that shuts down, counts as a second Ctrl-C. Nothing here waits or takes a lock,
since the handlers run between any two instructions of the driver.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

FINISHING = "\ncarsearch: stopping after this epoch; Ctrl-C again stops now (the running epochs are then lost)\n"
INTERRUPTED = "interrupted"
"""Reason of a dispatcher that the user has stopped."""
STOPPING = "\ncarsearch: stopping now\n"

_OURS = (signal.SIGINT, signal.SIGTERM)
_TUNES = signal.SIGUSR1
"""Ray Tune sets a handler for it and never restores the previous one."""


class Interrupts:
    """Counts the user's requests to stop. Call `raise_if_due` wherever the driver may safely end."""

    def __init__(self, finishing: str = FINISHING, *, terminal: int = 2) -> None:
        """finishing: message for the first Ctrl-C. terminal: file descriptor for messages, since stderr may be
        redirected."""
        self._finishing = finishing
        self._terminal = terminal
        self._times = 0
        self._on_first: Callable[[], None] = lambda: None
        self.error: Exception | None = None
        """The error passed to `end_with`, or None."""

    @property
    def asked(self) -> bool:
        """True once a signal came."""
        return self._times > 0

    @property
    def now(self) -> bool:
        """True once the run should end without waiting for workers."""
        return self._times > 1 or self.error is not None

    def raise_if_due(self) -> None:
        """Raise KeyboardInterrupt if the run should end now. Tune would clean up first and wait after any other
        exception."""
        if self.now:
            raise KeyboardInterrupt

    def end_with(self, error: Exception) -> None:
        """End the run at its next safe point with this error. May be called from any thread."""
        self.error = self.error or error

    @contextmanager
    def listening(self, on_first: Callable[[], None]) -> Iterator[None]:
        """Within this context, count signals and call `on_first` on the first Ctrl-C. Does nothing outside the main
        thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._on_first = on_first
        before = {number: signal.getsignal(number) for number in (*_OURS, _TUNES)}
        for number in _OURS:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._times = counted(self._times, number)
        if self._times == 1:
            self._on_first()
            _say(self._finishing, self._terminal)
        elif self._times == 2:
            _say(STOPPING, self._terminal)
        else:
            raise KeyboardInterrupt


def counted(times: int, number: int) -> int:
    """The number of requests to stop after one more signal. Pure."""
    return times + 1 if number == signal.SIGINT else max(times + 1, 2)


def _say(text: str, terminal: int) -> None:
    """Write without Python's buffers, since the interrupted code may be writing to them."""
    try:
        os.write(terminal, text.encode())
    except OSError:  # the terminal is gone
        return
