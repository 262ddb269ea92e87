"""Optuna's journal file with checksums and atomic appends, and with retries while its file system is unavailable."""

import contextlib
import io
import os
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from carcls.system.atomic import naming_full_disk, unreachable_cause
from search.errors import StudyError
from search.study.record.journal_lines import ChecksumChain, hash_of, hash_of_intact, is_unfinished
from search.study.record.journal_opening import REMEDY, Lines
from search.terminal.logs import get_logger

_log = get_logger(__name__)

_PAUSES_S = (1.0,)
"""Pauses between tries while a file system is unavailable; the last one is repeated."""

_reported: set[tuple[Path, bytes]] = set()
"""Damaged last lines that this process has logged, since a command opens its study several times."""

_Result = TypeVar("_Result")

Send = Callable[[Path, int], None]
"""Stores a journal elsewhere, up to a byte."""


class FileRetry:
    """Retries actions while a file system or database is unavailable. It does not wait unless `minutes` is set."""

    def __init__(self) -> None:
        self.minutes = 0.0
        self.raise_if_due: Callable[[], None] = lambda: None
        """Called while waiting. An error that it raises ends the wait."""

    def call(
        self, action: Callable[[], _Result], path: Path | str, *, pauses_s: Sequence[float] = _PAUSES_S
    ) -> _Result:
        """Call `action` and return its result, retrying while `path` is unavailable. Logs the outage and its end.

        path: a file, or the address of a database. pauses_s: between tries; the last one is repeated. Raises OSError
        for other errors, and for an outage longer than `minutes`.
        """
        began_s: float | None = None
        pauses = iter(pauses_s)
        while True:
            try:
                result = action()
            except OSError as error:
                if not self.minutes or unreachable_cause(error) is None:
                    raise
                if began_s is None:
                    began_s = time.monotonic()
                    _log.warning(
                        "%s: %s: the search waits for it; after %g minutes it stops and can be resumed",
                        path,
                        error.strerror,
                        self.minutes,
                    )
                elif time.monotonic() - began_s >= 60 * self.minutes:
                    raise
                self.raise_if_due()
                time.sleep(next(pauses, pauses_s[-1]))
            else:
                if began_s is not None:
                    _log.info("%s is back, the search continues", path)
                return result


class WholeLines(JournalFileBackend, Lines):
    """Optuna's journal file with a checksum on each line. Incomplete lines are ignored.

    A failed append leaves nothing behind. Otherwise, half a line written to a full disk would join with the next line
    into an unreadable one.
    """

    def __init__(self, path: Path, retry: FileRetry | None = None, send: Send | None = None) -> None:
        """send: called after an append; if it raises, the append is taken back.

        Locks with an exclusive file instead of Optuna's symbolic link: if the journal is moved, the link points
        nowhere, and a process that waits for it never returns."""
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path)))
        self._path = path
        self._retry = retry or FileRetry()
        self._send = send
        self._read = ChecksumChain()
        self._cut_to: int | None = None
        """Offset in bytes of a failed append that could not be removed yet, or None."""

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any]]:
        """The intact entries from that number on, counted from 0.

        A damaged last line is skipped: it is being written, or was cut off by a kill or a power cut. `cut_torn_line`
        removes it, but a reader may not. Raises StudyError naming the line for any other damage.
        """
        if log_number_from != self._read.lines:  # Optuna 5 always continues where it stopped.
            self._read = ChecksumChain()
        unread = self._retry.call(self._unread, self._path)
        end = self._read.end + len(unread)
        verified = hash_of_intact(unread) if self._read.end == 0 else None  # one checksum instead of each
        read = self._read.read if verified is None else self._read.read_verified
        for line in io.BytesIO(unread):
            entry = read(line)
            if entry is None:
                if verified is not None:
                    self._read.catch_up(hash_of(unread[: self._read.end]))
                self._meet_damage(line, is_last=self._read.end + len(line) == end)
                return
            if self._read.lines > log_number_from:
                yield entry
        if verified is not None:
            self._read.catch_up(verified)

    @property
    def read_count(self) -> int:
        """Number of lines read so far, which is the number of the last one."""
        return self._read.lines

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries; they are on disk when this returns. Raises DiskFullError, and OSError for other faults."""
        self._retry.call(lambda: self._append(logs), self._path)

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
                    if self._send is not None:
                        self._send(self._path, begin + len(lines))
                except BaseException:  # Ctrl-C after the write too: an entry that was not acknowledged must not stay
                    self._cut_to = begin
                    file.truncate(begin)
                    self._cut_to = None
                    raise
        finally:
            with contextlib.suppress(OSError, RuntimeError):  # unavailable: the next append breaks the stale lock
                self._lock.release()

    def _sealed(self, logs: list[dict[str, Any]], *, after: bytes) -> bytes:
        """Lines for these entries. after: bytes that others have appended since our last read, such as notes of
        optuna-dashboard."""
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
        if not is_unfinished(line) and (self._path, line) not in _reported:
            _reported.add((self._path, line))
            _log.warning(
                "%s, line %d: the last line is damaged and ignored: the next 'carsearch resume' cuts it off",
                self._path,
                self._read.lines + 1,
            )


def _write(descriptor: int, content: bytes) -> None:
    """Write all bytes and sync them to disk."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def _damage_text(path: Path, lines: range) -> str:
    where = f"line {lines[-1]}" if len(lines) == 1 else f"one of lines {lines[0]} to {lines[-1]}"
    return f"{path}, {where}: damaged (not as it was written): {REMEDY}"
