"""Files that get their names once their content is on the disk: many at a time, for the price of one flush."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from carcls.system.atomic import UNSUPPORTED

FILES_AT_ONCE = 1024
BYTES_AT_ONCE = 256 * 2**20
"""Whichever comes first: what a call that is cut off has to unpack again."""

Flush = Callable[[Path], None]
"""Returns once all that was written to the disk of a folder is there to stay."""


def sync_filesystem(folder: Path) -> None:
    """Everything written to the folder's filesystem, content and names, is on its disk when this returns.

    One `syncfs` in place of an `fsync` for each file: that would be one flush of the disk for each of many thousand
    small photos, and would wait for each before the next is written. Where system or filesystem has none, all
    filesystems are synced. Raises OSError where the disk refuses.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            if number in UNSUPPORTED:
                os.sync()
                return
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


class Placing:
    """Moves files from a staging folder to their places on the same filesystem, so that a power cut leaves none of
    them empty or cut short under its name. Not thread-safe.

    What was added has its name when the context is left, by an error too: each file is whole by itself.
    """

    def __init__(self, staging: Path, *, flush: Flush = sync_filesystem) -> None:
        self._staging = staging
        self._flush = flush
        self._staged: dict[Path, Path] = {}
        """By the place that is meant."""
        self._byte_count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._settle()
        self._flush(self._staging)  # the names too

    @property
    def part(self) -> Path:
        """Where to write the next file: at the same path until it is added."""
        return self._staging / f"part-{len(self._staged)}"

    def add(self, path: Path, byte_count: int) -> None:
        """`part` is whole, and belongs to `path`."""
        self._staged[path] = self.part
        self._byte_count += byte_count
        if len(self._staged) >= FILES_AT_ONCE or self._byte_count >= BYTES_AT_ONCE:
            self._settle()

    def settle(self, path: Path) -> None:
        """Where a file is on its way to `path`, it is there when this returns."""
        if path in self._staged:
            self._settle()

    def _settle(self) -> None:
        if not self._staged:
            return
        self._flush(self._staging)  # before the first of them has its name
        for path, part in self._staged.items():
            part.replace(path)
        self._staged.clear()
        self._byte_count = 0
