"""Ray's own log lines go to a file: a lost node is reported in our words, and is no error of a search that goes on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.on_ray.ray_private import raylet_lines_to
from search.terminal.logs import PlainLines

_RAY = "ray"
"""The logger above all of Ray's."""


@contextmanager
def rays_lines_in(file: Path) -> Iterator[None]:
    """Inside, what Ray's Python loggers and its raylets say is appended to the file, which appears with the first line,
    and not printed."""
    logger = logging.getLogger(_RAY)
    before, propagates = tuple(logger.handlers), logger.propagate
    handler = logging.FileHandler(file, encoding="utf-8", delay=True)
    handler.setFormatter(PlainLines())
    logger.handlers, logger.propagate = [handler], False
    try:
        with raylet_lines_to(logging.getLogger(f"{_RAY}.raylet").error):
            yield
    finally:
        logger.handlers, logger.propagate = list(before), propagates
        handler.close()
