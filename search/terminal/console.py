"""Prints results to standard output and warnings to standard error.

Names of files, classes and stages come from users' data, so control characters and unencodable characters are escaped.
A reader that exits early, like `head`, does not end the command: further output is dropped.
"""

import contextlib
import errno
import os
import sys
import unicodedata
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories to escape: control characters (ESC starts terminal commands), format characters (such as those
that reverse the writing direction), lone surrogates (a file name that is not UTF-8), line and paragraph separators."""

_emergency_descriptor = 2

_READER_GONE = (errno.EPIPE, errno.EIO)
"""The errors of a pipe whose reader exited, and of a terminal that hung up."""


class SafeStream:
    """A standard stream that never raises OSError. It keeps the first error and drops all further output."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Like a file's `write`, but escapes characters outside the stream's encoding."""
        try:
            self._try(lambda: self._stream.write(text))
        except UnicodeEncodeError:
            self._try(lambda: self._stream.write(_encodable(text, self._stream.encoding)))
        return len(text)

    def flush(self) -> None:
        """Like a file's `flush`."""
        self._try(self._stream.flush)

    def _try(self, act: Any) -> None:  # noqa: ANN401 - any call without arguments
        if self.error is not None:
            return
        try:
            act()
        except OSError as error:
            self.error = error
            self._redirect_to_null()

    def _redirect_to_null(self) -> None:
        """Keeps Python from failing to flush its buffer at exit, which would change the exit code."""
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any other attribute of the stream
        return getattr(self._stream, name)


def install_safe_streams() -> None:
    """Replaces this process's standard output and error by safe streams, and opens closed ones on the null device."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # otherwise the next opened file would get this descriptor
            os.open(os.devnull, os.O_RDWR)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name) or os.fdopen(descriptor, "w", encoding="utf-8", closefd=False)
        setattr(sys, name, stream if isinstance(stream, SafeStream) else safe_stream(stream))


def safe_stream(stream: TextIO) -> TextIO:
    """The stream as a `SafeStream`."""
    return cast("TextIO", SafeStream(stream))


def print_emergency(text: str) -> None:
    """Writes a line to standard error past all buffers, from any thread, just before the process is ended."""
    with contextlib.suppress(OSError):
        os.write(_emergency_descriptor, text.encode() + b"\n")


def set_emergency_descriptor(descriptor: int) -> None:
    """Sets where `print_emergency` writes while descriptor 2 leads to a thread that could no longer print."""
    global _emergency_descriptor  # noqa: PLW0603 - one per process, like standard error itself
    _emergency_descriptor = descriptor


def has_reader() -> bool:
    """False once standard output has failed."""
    return getattr(sys.stdout, "error", None) is None


def output_error() -> OSError | None:
    """Why results did not reach standard output, or None; a reader that exits early is no error."""
    error = getattr(sys.stdout, "error", None)
    return error if isinstance(error, OSError) and error.errno not in _READER_GONE else None


def console(*, stderr: bool = False) -> "Console":
    """A rich console on a standard stream, as wide as its terminal if it has one."""
    from rich.console import Console  # noqa: PLC0415 - only commands that show progress need it

    stream = sys.stderr if stderr else sys.stdout
    # In a notebook: neither HTML, since lines read better than many outputs, nor redrawing, which its `!` would not
    # obey although it is a terminal. Jupyter sets the variable for its kernels.
    redraws = False if "JPY_PARENT_PID" in os.environ else None
    sizes = _true_sizes(os.environ, is_sized=_has_size(stream))
    return Console(file=stream, force_jupyter=False, force_interactive=redraws, _environ=sizes)


def _true_sizes(environment: Mapping[str, str], *, is_sized: bool) -> dict[str, str]:
    """The environment without COLUMNS and LINES if they are invalid or the terminal knows its size. Pure."""
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
    """Prints one line of the command's result, and flushes; or passes it on, see `divert_lines`."""
    _say(line)


def write_line(line: str) -> None:
    """Prints one line to standard output and flushes, even if lines are diverted."""
    _write(sys.stdout, line)
    sys.stdout.flush()


_say: Callable[[str], None] = write_line


def divert_lines(to: Callable[[str], None] | None) -> None:
    """From now on, `say` passes its lines to this function instead of printing them; None undoes that."""
    global _say  # noqa: PLW0603 - one per process, like standard output itself
    _say = to or write_line


def warn(line: str) -> None:
    """Prints one line to standard error."""
    _write(sys.stderr, line)


def printable(text: str) -> str:
    r"""The text with control characters escaped as Python writes them, such as `\x1b`. Pure.

    Newlines and tabs stay: our own messages have several lines, and tables have columns.
    """
    return "".join(_shown(char) for char in text)


def escape_field(text: str) -> str:
    r"""The text as one field of one line: like `printable`, with tabs and newlines escaped too. Pure.

    A backslash is doubled, so that two names never look alike.
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
