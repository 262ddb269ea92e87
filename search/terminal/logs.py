"""Log lines on the console and in a file, without secrets."""

import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import optuna

from search.terminal.console import printable, safe_stream

_ROOTS = ("search", "carcls")
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^\s:/@]*):[^\s/@]+@")
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY", re.IGNORECASE)
_SHORTEST_SECRET = 8
"""Characters. Shorter values are more likely ordinary words of the message than secrets."""


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; pass `__name__`. It only logs warnings until `setup` is called."""
    return logging.getLogger(name)


def setup(file: Path | None = None, *, level: int = logging.INFO) -> None:
    """Sends the logs of both packages to stderr and, if given, appends them to a file, whose folder must exist.

    Another call replaces the handlers. Silences Optuna's own lines, one for each in-memory study.
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
    """`2026-01-31T12:00:00Z INFO search.on_ray.search: message`, in UTC; a traceback follows on its own lines."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        """The line with secrets replaced and control characters escaped."""
        return printable(redact(super().format(record), os.environ))


def redact(text: str, environment: Mapping[str, str]) -> str:
    """Replaces passwords in URLs, and values of environment variables with names like TOKEN or PASSWORD. Pure."""
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return _PASSWORD_IN_URL.sub(r"\1:***@", text)


def redirect_native_stderr(path: Path) -> None:
    """Appends what C++ libraries write to stderr to a file. Python's own messages stay on the terminal.

    TensorFlow writes a page of notices in every process before it reads any setting that could silence them.
    """
    # Python's stream, not descriptor 2, which a previous call may have redirected.
    terminal = os.dup(_descriptor(sys.stderr))
    sys.stderr = safe_stream(os.fdopen(terminal, "w", buffering=1, encoding="utf-8", errors="backslashreplace"))
    with path.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 2)


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):  # stderr was replaced by an object without a descriptor
        return 2
