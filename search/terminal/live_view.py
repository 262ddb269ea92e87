"""A search's live table with all other output above it. One console writes everything, so that nothing is lost."""

import contextlib
import os
import select
import sys
import termios
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleRenderable, RenderableType
from rich.control import Control
from rich.live import Live
from rich.text import Text

from search.terminal.console import printable, safe_stream, set_emergency_descriptor

_REFRESHES_PER_S = 3
_KEPT_LINES = 50
"""Latest lines that are printed again after the terminal's size changed."""
_STANDARD = (1, 2)
_READ_BYTES = 65536


class LiveView:
    """A renderable that redraws itself in rich's own thread, with printed lines above it.

    On a real terminal, standard output and error are redirected here while it is open, including output of C libraries
    and signal handlers.
    """

    def __init__(self, console: Console, view: Callable[[], RenderableType]) -> None:
        self._console = console
        self._live = _SizeAware(console=console, refresh_per_second=_REFRESHES_PER_S, get_renderable=view)
        self._opened = contextlib.ExitStack()

    def say(self, line: str) -> None:
        """Prints one line above the view. Thread-safe."""
        self._live.say(line)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            if _is_on(self._console, descriptor=1):
                opened.enter_context(_without_echo(1))
                capture = opened.enter_context(contextlib.closing(_Capture(self.say)))
                # The console's own output must not come back to it.
                self._console.file = safe_stream(os.fdopen(capture.terminal, "w", encoding="utf-8", closefd=False))
                opened.callback(setattr, self._console, "file", sys.stdout)
                opened.callback(self._live.stop)
                opened.callback(capture.end)
            else:
                opened.callback(self._live.stop)
            self._live.start()
            self._opened = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.close()


def _is_on(console: Console, *, descriptor: int) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return console.file.fileno() == descriptor and os.isatty(descriptor)
    return False


class _SizeAware(Live):
    """Clears the screen and redraws when the size of the terminal changed.

    Terminals differ in how they rewrap lines drawn at another width, so moving up by a number of rows would leave old
    headers behind or overwrite the lines above.
    """

    def __init__(
        self, *, console: Console, refresh_per_second: float, get_renderable: Callable[[], RenderableType]
    ) -> None:
        super().__init__(
            console=console,
            refresh_per_second=refresh_per_second,
            get_renderable=get_renderable,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._size = console.size
        self._lines: deque[Text] = deque(maxlen=_KEPT_LINES)

    def say(self, line: str) -> None:
        # The lock that each refresh holds: a print between rich's measuring and writing would move the table.
        with self._lock:
            text = Text(printable(line))
            self.console.print(text)
            self._lines.append(text)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        size = self.console.size
        if size != self._size and self.console.is_interactive:
            self._size = size
            self._live_render._shape = None  # private: rich must not move up on the cleared screen
            renderables = [Control.clear(), Control.home(), *_ended(self._lines), *renderables]
        return super().process_renderables(renderables)


def _ended(lines: Sequence[Text]) -> list[ConsoleRenderable]:
    return [text for line in lines for text in (line, Text("\n", end=""))]


@contextlib.contextmanager
def _without_echo(terminal: int) -> Iterator[None]:
    """Turns off the terminal's echo: an echoed `^C` or newline would move the table between redraws.

    If the process is killed, the shell restores the terminal.
    """
    before = termios.tcgetattr(terminal) if _is_in_front(terminal) else None
    if before is not None:
        quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        termios.tcsetattr(terminal, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        if before is not None and _is_in_front(terminal):
            with contextlib.suppress(termios.error):  # hung up
                termios.tcsetattr(terminal, termios.TCSANOW, before)


def _is_in_front(terminal: int) -> bool:
    """False for a background job, which the system would stop for changing the terminal."""
    with contextlib.suppress(OSError):
        return os.tcgetpgrp(terminal) == os.getpgrp()
    return False


class _Capture:
    """Passes lines on standard output and error, if they are terminals, to `line`, in a thread of its own."""

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line
        self._reading, writing = os.pipe()
        self._ending, self._end = os.pipe()
        _flush()
        self._before = {number: os.dup(number) for number in _STANDARD if os.isatty(number)}
        self.terminal = os.dup(self._before[1])
        """Descriptor of the terminal itself."""
        set_emergency_descriptor(self._before.get(2, 2))
        for number in self._before:
            os.dup2(writing, number)
        os.close(writing)
        self._thread = threading.Thread(target=self._read, name="terminal-lines", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Restores the streams, after all captured lines were printed."""
        _flush()
        set_emergency_descriptor(2)
        for number, before in self._before.items():
            os.dup2(before, number)
            os.close(before)
        os.close(self._end)
        self._thread.join()
        os.close(self._reading)
        os.close(self._ending)

    def close(self) -> None:
        os.close(self.terminal)

    def _read(self) -> None:
        rest = b""
        while True:
            # A child process may hold the pipe open, so waiting for its end could take forever.
            ready = select.select([self._reading, self._ending], [], [])[0]
            data = os.read(self._reading, _READ_BYTES) if self._reading in ready else b""
            *lines, rest = (rest + data).split(b"\n")
            if not data:
                lines.append(rest)
            for line in lines:
                # No error of the console may stop the reading: the pipe would fill up and block the search.
                with contextlib.suppress(Exception):
                    if line.strip():
                        self._line(line.decode(errors="replace").rstrip("\r"))
            if not data:
                return


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
