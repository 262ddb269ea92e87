"""The unpacking budget that an archive shares with all archives inside it, set by the size of the outermost file."""

from dataclasses import dataclass
from pathlib import Path

from carcls.errors import DataError

MAX_ENTRIES = 1_000_000
MAX_ARCHIVES = 10_000
"""Archives inside one archive; each is copied, opened and read twice."""
MAX_RATIO = 100
"""Unpacked bytes per byte of the archive. Photos reach 1.1 and tables 20; bombs reach 1,000."""
_RATIO_FROM_BYTES = 64 * 2**20
"""Archives that unpack to less than this are accepted at any ratio."""


@dataclass(slots=True)
class Budget:
    """Bytes and entries left. Every entry counts, including folders and entries of nested archives."""

    allowed: int
    """Total bytes."""
    _spent: int = 0
    _entries: int = 0
    _archives: int = 0

    @classmethod
    def of(cls, archive: Path) -> "Budget":
        """The budget of an outermost archive."""
        return cls(max(_RATIO_FROM_BYTES, MAX_RATIO * archive.stat().st_size))

    def spend(self, name: str, entry: str, byte_count: int) -> None:
        """Counts one entry. name: the archive's name in messages. Raises DataError if the budget is exceeded."""
        self._spent += byte_count
        self._entries += 1
        if self._spent > self.allowed:
            raise DataError(
                f"{name}: declares more than {self.allowed:,} unpacked bytes, {MAX_RATIO} times the size of the"
                f" outermost archive, at {entry[:200]!r}: a decompression bomb; unpack it by hand if you trust it"
            )
        if self._entries > MAX_ENTRIES:
            raise DataError(
                f"{name}: more than {MAX_ENTRIES:,} files and folders, including those of nested archives; unpack it by"
                " hand if you trust it"
            )

    def spend_archive(self, name: str) -> int:
        """Counts a nested archive and returns its number, from 1. Raises DataError if there are too many."""
        self._archives += 1
        if self._archives > MAX_ARCHIVES:
            raise DataError(f"{name}: more than {MAX_ARCHIVES:,} archives inside it; unpack it by hand if you trust it")
        return self._archives
