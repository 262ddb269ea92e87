"""What the driver tells on the console and in a file: plain lines, without secrets."""

import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import optuna

from search.terminal.console import outlet, printable

_ROOTS = ("search", "carcls")
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^\s:/@]*):[^\s/@]+@")
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY", re.IGNORECASE)
_SHORTEST_SECRET = 8
"""Characters; a shorter value is more likely to be a word of the message than a secret."""


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; pass `__name__`. Says nothing below warnings until `setup` was called."""
    return logging.getLogger(name)


def setup(file: Path | None = None, *, level: int = logging.INFO) -> None:
    """Sends what both packages log to stderr and, appended, to a file whose folder exists.

    Called again, it replaces what it had set up. Optuna's own lines, one for each study in memory, are silenced.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(PlainLines())
    for root in _ROOTS:
        logger = logging.getLogger(root)
        for old in tuple(logger.handlers):
            logger.removeHandler(old)
            old.close()
        logger.setLevel(level)
        logger.propagate = False
        for handler in handlers:
            logger.addHandler(handler)


class PlainLines(logging.Formatter):
    """`2026-01-31T12:00:00Z INFO search.on_ray.search: message`, in UTC; a traceback follows on lines of its own."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        """The line, with every secret replaced, and without what a terminal or a file could not show."""
        return printable(redact(super().format(record), os.environ))


def redact(text: str, environment: Mapping[str, str]) -> str:
    """Replaces passwords in URLs, and the values of environment variables that are named like secrets; pure."""
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return _PASSWORD_IN_URL.sub(r"\1:***@", text)


def keep_native_output(path: Path) -> None:
    """Appends what C++ writes to stderr to a file; Python's own messages stay on the terminal.

    TensorFlow greets every process with a page of notices that no setting silences, written before it reads any.
    """
    # Python's own, not descriptor 2: where this was called before, that leads to a file already.
    terminal = os.dup(_descriptor(sys.stderr))
    sys.stderr = outlet(os.fdopen(terminal, "w", buffering=1, encoding="utf-8", errors="backslashreplace"))
    with path.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 2)


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):  # replaced by something that is no file
        return 2
