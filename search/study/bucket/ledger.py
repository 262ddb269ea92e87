"""Remembers which content of each file is both on this machine and in the bucket."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.study.bucket.bucket import Stamp

_TABLE = """CREATE TABLE IF NOT EXISTS files (
    name TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, far_size INTEGER, far_mtime_ns INTEGER)"""
_TIMEOUT_S = 30.0


class Ledger:
    """A table in a file of the study's folder. Several processes and threads may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, under: str = "") -> dict[str, tuple[Stamp, Stamp]]:
        """The stamps of each file below a folder: here, and in the bucket."""
        select = "SELECT name, size, mtime_ns, far_size, far_mtime_ns FROM files"
        with self._open() as table:
            if under:  # "0" follows "/"
                rows = table.execute(f"{select} WHERE name >= ? AND name < ?", (f"{under}/", f"{under}0")).fetchall()
            else:
                rows = table.execute(select).fetchall()
        return {
            name: (Stamp(size, mtime), Stamp(far_size, far_mtime)) for name, size, mtime, far_size, far_mtime in rows
        }

    def note(self, name: str, here: Stamp, far: Stamp) -> None:
        """Both have the same content."""
        row = (name, here.size, here.mtime_ns, far.size, far.mtime_ns)
        with self._open() as table:
            table.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", row)

    def forget(self, name: str) -> None:
        """Neither has it."""
        with self._open() as table:
            table.execute("DELETE FROM files WHERE name = ?", (name,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        table = sqlite3.connect(self._path, timeout=_TIMEOUT_S)
        try:
            table.execute("PRAGMA synchronous = OFF")  # after a power cut, files are compared with the bucket again
            table.execute(_TABLE)
            with table:
                yield table
        finally:
            table.close()
