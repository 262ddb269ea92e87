"""What one archive may unpack to, with all archives inside it: one allowance, by the size of the outermost file."""

from dataclasses import dataclass
from pathlib import Path

from carcls.errors import DataError

MAX_ENTRIES = 1_000_000
MAX_ARCHIVES = 10_000
"""Inside one; each is copied, opened and read twice."""
MAX_RATIO = 100
"""Unpacked bytes for one byte of the archive. Photos reach 1.1, tables 20; bombs 1,000."""
_RATIO_FROM_BYTES = 64 * 2**20
"""Less than this is no bomb, whatever its ratio."""


@dataclass(slots=True)
class Budget:
    """Spent by every entry, folders and archives within archives included."""

    allowed: int
    """Bytes in all."""
    _spent: int = 0
    _entries: int = 0
    _archives: int = 0

    @classmethod
    def of(cls, archive: Path) -> "Budget":
        """For an archive that lies in no other."""
        return cls(max(_RATIO_FROM_BYTES, MAX_RATIO * archive.stat().st_size))

    def spend(self, name: str, entry: str, byte_count: int) -> None:
        """Counts one entry. name: what messages call the archive. Raises DataError where nothing is left."""
        self._spent += byte_count
        self._entries += 1
        if self._spent > self.allowed:
            raise DataError(
                f"{name}: claims to unpack to more than {self.allowed:,} bytes, {MAX_RATIO} times the size of the"
                f" outermost archive, at {entry[:200]!r}: a decompression bomb; unpack it by hand if you trust it"
            )
        if self._entries > MAX_ENTRIES:
            raise DataError(
                f"{name}: more than {MAX_ENTRIES:,} files and folders, those of archives inside included; unpack it by"
                " hand if you trust it"
            )

    def spend_archive(self, name: str) -> int:
        """Counts an archive inside, and returns its number, from 1. Raises DataError where there are too many."""
        self._archives += 1
        if self._archives > MAX_ARCHIVES:
            raise DataError(f"{name}: more than {MAX_ARCHIVES:,} archives inside it; unpack it by hand if you trust it")
        return self._archives
