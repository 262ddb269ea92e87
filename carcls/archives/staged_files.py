"""Writes files durably in batches: they get their final names only after one flush of the whole batch."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from carcls.system.atomic import UNSUPPORTED

FILES_AT_ONCE = 1024
BYTES_AT_ONCE = 256 * 2**20
"""A batch ends at whichever comes first. An interrupted call has to unpack at most this much again."""

Flush = Callable[[Path], None]
"""Returns once everything written to a folder's file system is durable."""


def sync_filesystem(folder: Path) -> None:
    """Flushes the folder's file system to disk, contents and names.

    Uses one `syncfs` instead of one `fsync` per file, which would flush the disk for each of many thousand small photos
    before the next is written. If the system or file system lacks it, syncs all file systems. Raises OSError.
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


class StagedFiles:
    """Moves files from a staging folder to their final paths on the same file system. Not thread-safe.

    A power cut never leaves an empty or truncated file under a final name. All added files have their names when the
    context exits, even after an error, since each file is complete by itself.
    """

    def __init__(self, staging: Path, *, flush: Flush = sync_filesystem) -> None:
        self._staging = staging
        self._flush = flush
        self._staged: dict[Path, Path] = {}
        """Final path -> staged file."""
        self._byte_count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._publish()
        self._flush(self._staging)  # the names too

    @property
    def part(self) -> Path:
        """Path to write the next file to. Stays the same until that file is added."""
        return self._staging / f"part-{len(self._staged)}"

    def add(self, path: Path, byte_count: int) -> None:
        """`part` is complete and shall become `path`."""
        self._staged[path] = self.part
        self._byte_count += byte_count
        if len(self._staged) >= FILES_AT_ONCE or self._byte_count >= BYTES_AT_ONCE:
            self._publish()

    def finish(self, path: Path) -> None:
        """Publishes the current batch if it contains `path`."""
        if path in self._staged:
            self._publish()

    def _publish(self) -> None:
        if not self._staged:
            return
        self._flush(self._staging)  # contents must be durable before any file gets its name
        for path, part in self._staged.items():
            part.replace(path)
        self._staged.clear()
        self._byte_count = 0
