"""Lines for whoever started the command: results to standard output, warnings to standard error.

Names of files, classes and stages come from outside: what a terminal would obey, or could not show, is shown by its
number instead. A reader that goes away, as `head` does, ends no work: output without a reader is dropped.
"""

import contextlib
import errno
import os
import sys
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories: control characters (ESC begins a terminal's commands), characters without a shape of their own
(such as those that turn the direction of writing), halves of surrogate pairs (a file name that is no UTF-8), ends of
lines and paragraphs."""

_last_words_to = 2

_READER_GONE = (errno.EPIPE, errno.EIO)
"""A pipe whose reader ended; a terminal that hung up."""


class Outlet:
    """A standard stream that raises no OSError: after the first one it drops all that follows, and keeps the error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """As a file's; characters outside the stream's encoding are shown by number."""
        try:
            self._try(lambda: self._stream.write(text))
        except UnicodeEncodeError:
            self._try(lambda: self._stream.write(_encodable(text, self._stream.encoding)))
        return len(text)

    def flush(self) -> None:
        """As a file's."""
        self._try(self._stream.flush)

    def _try(self, act: Any) -> None:  # noqa: ANN401 - any call without arguments
        if self.error is not None:
            return
        try:
            act()
        except OSError as error:
            self.error = error
            self._lead_nowhere()

    def _lead_nowhere(self) -> None:
        """What is still buffered would fail again when Python ends, and change the exit code."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the stream's own
        return getattr(self._stream, name)


def outlast_readers() -> None:
    """For the whole process: standard output and error become outlets; one that was closed leads nowhere."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # else the next file that is opened would be taken for it
            os.open(os.devnull, os.O_RDWR)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name) or os.fdopen(descriptor, "w", encoding="utf-8", closefd=False)
        setattr(sys, name, stream if isinstance(stream, Outlet) else outlet(stream))


def outlet(stream: TextIO) -> TextIO:
    """The stream as an `Outlet`."""
    return cast("TextIO", Outlet(stream))


def last_words(text: str) -> None:
    """A line for standard error from any thread, past all buffers, before the process is ended without more ado."""
    with contextlib.suppress(OSError):
        os.write(_last_words_to, text.encode() + b"\n")


def lead_last_words(descriptor: int) -> None:
    """Where `last_words` go while descriptor 2 leads to a thread that will not get to show them."""
    global _last_words_to  # noqa: PLW0603 - as standard error itself, there is one in a process
    _last_words_to = descriptor


def is_heard() -> bool:
    """False once nothing reaches standard output any more."""
    return getattr(sys.stdout, "error", None) is None


def lost_output() -> OSError | None:
    """Why results did not reach standard output, where that was not its reader's choice."""
    error = getattr(sys.stdout, "error", None)
    return error if isinstance(error, OSError) and error.errno not in _READER_GONE else None


def console(*, stderr: bool = False) -> "Console":
    """A rich console on a standard stream, at least one column wide, as wide as its terminal where it has one."""
    from rich.console import Console  # noqa: PLC0415 - only commands that show progress need it

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, _environ=_true_sizes(os.environ, is_sized=_has_size(stream)))


def _true_sizes(environment: Mapping[str, str], *, is_sized: bool) -> dict[str, str]:
    """Without COLUMNS and LINES where they are no sizes, or a terminal knows better; pure."""
    return {
        name: value
        for name, value in environment.items()
        if name not in ("COLUMNS", "LINES") or (not is_sized and value.isdecimal() and int(value) > 0)
    }


def _has_size(stream: TextIO) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return min(os.get_terminal_size(stream.fileno())) > 0
    return False


def say(line: str) -> None:
    """One line of the command's result, at once."""
    _write(sys.stdout, line)
    sys.stdout.flush()


def warn(line: str) -> None:
    """One line that is not the command's result."""
    _write(sys.stderr, line)


def printable(text: str) -> str:
    r"""The text with each character that a terminal would obey as Python writes it, such as `\x1b`; pure.

    Ends of lines and tabs stay: our own messages have several lines, and tables columns.
    """
    return "".join(_shown(char) for char in text)


def field(text: str) -> str:
    r"""The text as one field of one line: as `printable`, and tabs and ends of lines are escaped too; pure.

    A backslash is doubled, so that two names never read alike.
    """
    return "".join(_escaped(char) if char in "\n\t\\" else _shown(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _shown(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) not in _OBEYED:
        return char
    return _escaped(char)


def _write(stream: TextIO, line: str) -> None:
    stream.write(_encodable(printable(line) + "\n", stream.encoding))


def _encodable(text: str, encoding: str | None) -> str:
    known = encoding or "utf-8"
    return text.encode(known, "backslashreplace").decode(known)
