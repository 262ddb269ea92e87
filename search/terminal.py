"""Lines for whoever started the command: results to standard output, warnings to standard error.

Names of files, classes and stages come from outside: what a terminal would obey, or could not show, is shown by its
number instead.
"""

import sys
import unicodedata
from typing import TextIO

_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories: control characters (ESC begins a terminal's commands), characters without a shape of their own
(such as those that turn the direction of writing), halves of surrogate pairs (a file name that is no UTF-8), ends of
lines and paragraphs."""


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
    encoding = stream.encoding or "utf-8"
    stream.write((printable(line) + "\n").encode(encoding, "backslashreplace").decode(encoding))
