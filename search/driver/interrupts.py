"""Handles Ctrl-C and SIGTERM.

The first Ctrl-C lets each running epoch finish, the second ends the run at the next safe point, and the third ends it
at once. SIGTERM, as sent by SLURM, Kubernetes, `docker stop` or a machine that shuts down, asks running trainings to
save their state within the epoch, and ends the run once they have or after a limit; another signal ends it at the next
safe point. Nothing here waits or takes a lock, since the handlers run between any two instructions of the driver.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType

FINISHING = "\ncarsearch: stopping after this epoch; Ctrl-C again stops now (the running epochs are then lost)\n"
INTERRUPTED = "interrupted"
"""Reason of a dispatcher that the user has stopped."""
HANDING_OVER = "\ncarsearch: asked to end (SIGTERM): running epochs are saved as they are; another signal stops now\n"
STOPPING = "\ncarsearch: stopping now\n"

_OURS = (signal.SIGINT, signal.SIGTERM)
_TUNES = signal.SIGUSR1
"""Ray Tune sets a handler for it and never restores the previous one."""


class Request(IntEnum):
    """How soon the run was asked to end."""

    NONE = 0
    AFTER_EPOCH = 1
    """Running epochs may finish."""
    WITHIN_EPOCH = 2
    """Running trainings save their state, which takes a bounded time."""
    NOW = 3
    """At the next safe point."""
    AT_ONCE = 4


_SAID = {Request.WITHIN_EPOCH: HANDING_OVER, Request.NOW: STOPPING}


class AskedToEnd(KeyboardInterrupt):
    """SIGTERM ended the run."""


class Interrupts:
    """Keeps what the user or a signal asked for. Call `raise_if_due` wherever the driver may safely end."""

    def __init__(
        self,
        finishing: str = FINISHING,
        *,
        terminal: int = 2,
        hand_over_s: float = math.inf,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """finishing: message for the first Ctrl-C. terminal: file descriptor for messages, since stderr may be
        redirected. hand_over_s: seconds from SIGTERM to the end of a run whose trainings do not save their state."""
        self._finishing = finishing
        self._terminal = terminal
        self._hand_over_s = hand_over_s
        self._clock_s = clock_s
        self._request = Request.NONE
        self._until_s = math.inf
        self._on_first: Callable[[], None] = lambda: None
        self.terminated = False
        """True once SIGTERM came."""
        self.error: Exception | None = None
        """The error passed to `end_with`, or None."""

    @property
    def asked(self) -> bool:
        """True once a signal came."""
        return self._request is not Request.NONE

    @property
    def hands_over(self) -> bool:
        """True while running trainings should save their state and end. Any thread."""
        return self._request is Request.WITHIN_EPOCH

    @property
    def now(self) -> bool:
        """True once the run should end without waiting for workers."""
        return self._request >= Request.NOW or self.error is not None or self._clock_s() >= self._until_s

    def raise_if_due(self) -> None:
        """Raise KeyboardInterrupt if the run should end now. Tune would clean up first and wait after any other
        exception."""
        if self.now:
            raise self.reason()

    def reason(self) -> KeyboardInterrupt:
        """What to raise when a signal has ended the run."""
        return AskedToEnd() if self.terminated else KeyboardInterrupt()

    def end_with(self, error: Exception) -> None:
        """End the run at its next safe point with this error. May be called from any thread."""
        self.error = self.error or error

    @contextmanager
    def listening(self, on_first: Callable[[], None]) -> Iterator[None]:
        """Within this context, listen to signals and call `on_first` on the first one. Does nothing outside the main
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
        before, self._request = self._request, request_after(self._request, number)
        self.terminated = self.terminated or number == signal.SIGTERM
        if self._request is Request.AT_ONCE:
            raise self.reason()
        if self._request is Request.WITHIN_EPOCH:
            self._until_s = self._clock_s() + self._hand_over_s
        if before is Request.NONE:
            self._on_first()
        _say(_SAID.get(self._request, self._finishing), self._terminal)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within this context, SIGTERM raises AskedToEnd, as Ctrl-C raises KeyboardInterrupt. Without it, process 1 of a
    container would ignore SIGTERM. Does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise AskedToEnd

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def request_after(before: Request, number: int) -> Request:
    """What is asked for after one more signal. Pure."""
    if number == signal.SIGTERM and before < Request.WITHIN_EPOCH:
        return Request.WITHIN_EPOCH
    if before is Request.NONE:
        return Request.AFTER_EPOCH
    return Request.AT_ONCE if before >= Request.NOW else Request.NOW


def _say(text: str, terminal: int) -> None:
    """Write without Python's buffers, since the interrupted code may be writing to them."""
    try:
        os.write(terminal, text.encode())
    except OSError:  # the terminal is gone
        return
