"""Optuna's journal file with checksums and whole appends, patient with a file system that is away."""

import contextlib
import io
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from carcls.system.atomic import naming_full_disk, unreachable_cause
from search.errors import StudyError
from search.study.journal_lines import Chain, is_unfinished
from search.terminal.logs import get_logger

_log = get_logger(__name__)

WAY_OUT = "put back a copy of this file, or start a new study"
_LOOK_S = 1.0
"""Between two looks at a file system that is away."""

_said: set[tuple[Path, bytes]] = set()
"""Damaged last lines of which this process has told: a command opens its study several times."""

_Result = TypeVar("_Result")


class Patience:
    """How long a journal waits for a file system that is away: not at all, unless it is told to."""

    def __init__(self) -> None:
        self.minutes = 0.0
        self.raise_if_due: Callable[[], None] = lambda: None
        """Called while it waits; what it raises ends the wait."""

    def wait_for(self, action: Callable[[], _Result], path: Path) -> _Result:
        """What `action` returns, tried again while `path` is away; both is said. Raises OSError."""
        began_s: float | None = None
        while True:
            try:
                result = action()
            except OSError as error:
                if not self.minutes or unreachable_cause(error) is None:
                    raise
                if began_s is None:
                    began_s = time.monotonic()
                    _log.warning(
                        "%s: %s: the search waits for it; after %g minutes it stops, to be resumed",
                        path,
                        error.strerror,
                        self.minutes,
                    )
                elif time.monotonic() - began_s >= 60 * self.minutes:
                    raise
                self.raise_if_due()
                time.sleep(_LOOK_S)
            else:
                if began_s is not None:
                    _log.info("%s is back, the search goes on", path)
                return result


class WholeLines(JournalFileBackend):
    """Optuna's file, whose lines carry checksums, and of which half a line counts for nothing.

    Half a line of a full disk would make one unreadable line with the next, so a failed append leaves none.
    """

    def __init__(self, path: Path, patience: Patience | None = None) -> None:
        """By an exclusive file, not Optuna's symbolic link: a link to a journal that was moved points nowhere, and
        a process that waits for it never returns."""
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path)))
        self._path = path
        self._patience = patience or Patience()
        self._read = Chain()
        self._cut_to: int | None = None
        """Where a failed append began that could not be taken back."""

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any]]:
        """The entries from that one on, counted from 0, as far as they are whole.

        A damaged last line is left out: it is being written, or was when its writer was killed or the power cut.
        `cut_torn_line` takes it away, but a reader may change nothing. Raises StudyError, naming the line, for any
        other damage.
        """
        if log_number_from != self._read.lines:  # never in Optuna 5, which reads on
            self._read = Chain()
        unread = self._patience.wait_for(self._unread, self._path)
        end = self._read.end + len(unread)
        for line in io.BytesIO(unread):
            entry = self._read.read(line)
            if entry is None:
                self._meet_damage(line, is_last=self._read.end + len(line) == end)
                return
            if self._read.lines > log_number_from:
                yield entry

    @property
    def read_count(self) -> int:
        """How many lines were read so far: the number of the last one."""
        return self._read.lines

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """On disk when it returns. Raises DiskFullError, and OSError where the disk refuses otherwise."""
        self._patience.wait_for(lambda: self._append(logs), self._path)

    def _append(self, logs: list[dict[str, Any]]) -> None:
        self._lock.acquire()
        try:
            with naming_full_disk(self._path), self._path.open("r+b", buffering=0) as file:
                if self._cut_to is not None:
                    file.truncate(self._cut_to)
                    self._cut_to = None
                file.seek(self._read.end)
                lines = self._sealed(logs, after=file.read())
                begin = file.tell()
                try:
                    _write(file.fileno(), lines)
                except BaseException:  # a Ctrl-C behind the write too: what was not acknowledged is not there
                    self._cut_to = begin
                    file.truncate(begin)
                    self._cut_to = None
                    raise
        finally:
            with contextlib.suppress(OSError, RuntimeError):  # away: the next append takes the lock after a while
                self._lock.release()

    def _sealed(self, logs: list[dict[str, Any]], *, after: bytes) -> bytes:
        """Lines for these entries. after: what others have added since our last look, such as optuna-dashboard's
        notes."""
        chain, lines = self._read.copy(), []
        for line in io.BytesIO(after):
            if chain.read(line) is None:
                raise StudyError(_damage_text(self._path, chain.blames(line)))
        for entry in logs:
            lines.append(chain.sealed(entry))
            chain.read(lines[-1])
        return b"".join(lines)

    def _unread(self) -> bytes:
        with self._path.open("rb") as file:
            file.seek(self._read.end)
            return file.read()

    def _meet_damage(self, line: bytes, *, is_last: bool) -> None:
        blamed = self._read.blames(line)
        if not is_last or len(blamed) > 1:
            raise StudyError(_damage_text(self._path, blamed))
        if not is_unfinished(line) and (self._path, line) not in _said:
            _said.add((self._path, line))
            _log.warning(
                "%s, line %d: damaged, and left out as the last one: the next 'carsearch resume' cuts it off",
                self._path,
                self._read.lines + 1,
            )


def _write(descriptor: int, content: bytes) -> None:
    """All of it, to the disk."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def _damage_text(path: Path, lines: range) -> str:
    where = f"line {lines[-1]}" if len(lines) == 1 else f"one of lines {lines[0]} to {lines[-1]}"
    return f"{path}, {where}: damaged (not as it was written): {WAY_OUT}"
