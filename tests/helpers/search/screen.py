"""A real pseudo-terminal with a process in it, and the screen that a user would see."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_SEQUENCE = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])")


class Screen:
    """The cells of a terminal. It cuts lines when it becomes narrower, and does not rejoin them."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._lines = [""]
        """All lines so far; the screen is the last `rows` of them."""
        self._row, self._column = 0, 0
        self._rest = ""

    @property
    def lines(self) -> list[str]:
        """The visible lines, top to bottom, without empty ones at the end."""
        shown = [line.rstrip() for line in self._lines[self._top :]]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def resize(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._lines = [line[:columns] for line in self._lines]
        self._column = min(self._column, columns - 1)

    def feed(self, text: str) -> None:
        text, self._rest = self._rest + text, ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = _SEQUENCE.match(text, at)
                if found is None:
                    if len(text) - at < 16:
                        self._rest = text[at:]
                        return
                    raise AssertionError(f"no sequence that this screen knows: {text[at : at + 16]!r}")
                self._obey(found[2], found[1])
                at = found.end()
                continue
            self._put(text[at])
            at += 1

    @property
    def _top(self) -> int:
        return max(0, len(self._lines) - self.rows)

    def _put(self, char: str) -> None:
        match char:
            case "\r":
                self._column = 0
            case "\n":
                self._down()
            case "\x08":
                self._column = max(0, self._column - 1)
            case "\x07":
                pass
            case _:
                if self._column >= self.columns:
                    self._column = 0
                    self._down()
                line = self._lines[self._row].ljust(self._column)
                self._lines[self._row] = line[: self._column] + char + line[self._column + 1 :]
                self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._lines):
            self._lines.append("")

    def _obey(self, command: str, given: str) -> None:
        count = int(given) if given.isdigit() else 1
        match command:
            case "A":
                self._row = max(self._top, self._row - count)
            case "H":
                self._row, self._column = self._top, 0
            case "J":
                self._lines[self._top :] = [""] * (len(self._lines) - self._top)
            case "K":
                line = self._lines[self._row]
                self._lines[self._row] = "" if given == "2" else line[: self._column]
            case "m" | "h" | "l":
                pass
            case _:
                raise AssertionError(f"no command that this screen knows: {given}{command}")


class Terminal:
    """A process whose standard streams are a pseudo-terminal, as its foreground job."""

    def __init__(
        self, command: list[str], *, cwd: Path, columns: int, rows: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self._ours, theirs = os.openpty()
        self.screen = Screen(columns, rows)
        self.resize(columns, rows)
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "TERM": "xterm", "PYTHONPATH": str(Path(__file__).parents[3]), **(environment or {})},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=lambda: _take_terminal(theirs),  # noqa: PLW1509 - it takes no lock; Popen has no other way
        )
        os.close(theirs)
        self.raw = ""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(columns, rows)

    def press(self, keys: str) -> None:
        """Sends keys, such as Ctrl-C, which the terminal turns into a signal."""
        os.write(self._ours, keys.encode())

    def read(self, for_s: float) -> bool:
        """Copies output to the screen; returns False once the process has ended."""
        until = time.monotonic() + for_s
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._ours], [], [], left)[0]:
                return True
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # EIO: no process has it open any more
                return False
            if not data:
                return False
            text = data.decode(errors="replace")
            self.raw += text
            self.screen.feed(text)
        return True

    def read_until(self, condition: Callable[[], bool], what: str, *, within_s: float = 240.0) -> None:
        until = time.monotonic() + within_s
        while not condition():
            if not self.read(0.1) and not condition():
                raise AssertionError(f"{what}: the process ended before\n{self.screen.text}")
            if time.monotonic() > until:
                raise AssertionError(f"{what}: not within {within_s:g} s\n{self.screen.text}")

    def end(self, *, within_s: float = 240.0) -> int:
        """Reads all output and returns the exit code."""
        until = time.monotonic() + within_s
        while self.read(0.2):
            if self.process.poll() is not None and not self.read(0.5):
                break
            if time.monotonic() > until:
                raise AssertionError(f"no end within {within_s:g} s\n{self.screen.text}")
        return self.process.wait(timeout=within_s)

    def hang_up(self) -> None:
        """Hangs up; a process that survives SIGHUP, as under `nohup`, then writes to nothing."""
        os.close(self._ours)
        self._ours = -1

    def close(self) -> None:
        """Ends the process if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self._ours >= 0:
            os.close(self._ours)


def _take_terminal(descriptor: int) -> None:
    os.setsid()
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def carsearch(*arguments: str) -> list[str]:
    """Command line of the installed program, from any folder."""
    return [sys.executable, "-P", "-m", "search.cli", *arguments]
