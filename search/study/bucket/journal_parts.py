"""A study's journal in the bucket: pieces that are named after their first byte.

An object cannot be appended to, and storing a long journal again after each change would take ever longer. So each
change stores only its own lines, as `study.log.parts/<first byte>`. The lines' checksums are chained, so that a missing
or foreign piece is noticed when the journal is read.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from search.errors import StudyError
from search.study.bucket.bucket import Bucket

_PART = re.compile(r"(?P<log>.+)\.parts/(?P<begin>[0-9]{15})")
_MOST_PARTS = 256
"""More are joined, since each costs a request of a reader."""


def part_name(log: str, begin: int) -> str:
    """The name of the piece of a journal that begins with a byte. Pure."""
    return f"{log}.parts/{begin:015d}"


def journal_of(name: str) -> tuple[str, int] | None:
    """The journal that a file is a piece of, and its first byte; None for other files. Pure."""
    found = _PART.fullmatch(name)
    return (found["log"], int(found["begin"])) if found else None


def joined(parts: Mapping[int, bytes], where: str) -> bytes:
    """The journal that pieces make up, by their first byte. Pure.

    A piece that an earlier, longer one covers is passed over: it was joined, and its deletion was cut short. Raises
    StudyError if pieces are missing or contradict each other, as after two drivers.
    """
    journal = b""
    for begin in sorted(parts):
        part = parts[begin]
        if begin < len(journal):
            if journal[begin : begin + len(part)] != part:
                raise StudyError(f"{where}: two drivers wrote byte {begin}: delete the pieces of one of them")
        elif begin > len(journal):
            raise StudyError(f"{where}: bytes {len(journal)} to {begin} are missing: put them back")
        else:
            journal += part
    return journal


class JournalParts:
    """The pieces of one journal, for its one writer."""

    def __init__(self, bucket: Bucket, log: str) -> None:
        """log: the journal's name in the bucket."""
        self._bucket = bucket
        self._log = log
        self._sent = 0
        self._begins: list[int] = []

    def begin(self, path: Path) -> None:
        """Make the bucket's journal equal to the one at `path`, whose last line may have been cut off."""
        content = path.read_bytes() if path.exists() else b""
        begins = [found[1] for name in self._bucket.files() if (found := journal_of(name)) and found[0] == self._log]
        parts = {begin: self._bucket.get(part_name(self._log, begin)) for begin in begins}
        self._begins = sorted(begins)
        if joined(parts, f"{self._bucket.url}: {self._log}") == content and len(begins) <= _MOST_PARTS:
            self._sent = len(content)
        else:
            self._join(content)

    def send(self, path: Path, end: int) -> None:
        """Store what the journal has up to a byte. Raises OSError; then the next call stores it."""
        with path.open("rb") as file:
            file.seek(self._sent)
            content = file.read(end - self._sent)
        if not content:
            return
        self._bucket.put(part_name(self._log, self._sent), content)
        if self._sent not in self._begins:
            self._begins.append(self._sent)
        self._sent = end
        if len(self._begins) > _MOST_PARTS:
            self._join(path.read_bytes()[:end])

    def _join(self, content: bytes) -> None:
        self._bucket.put(part_name(self._log, 0), content)
        for begin in self._begins:
            if begin:
                self._bucket.delete(part_name(self._log, begin))
        self._begins, self._sent = [0], len(content)
