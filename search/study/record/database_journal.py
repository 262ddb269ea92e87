"""A study's journal as rows of a PostgreSQL table, each with the line that the file `study.log` would have."""

import contextlib
import os
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from psycopg.errors import UniqueViolation

from search.errors import StudyError
from search.study.driver_session import DriverSession
from search.study.record.database import Connection, check_schema, connect, named_errors
from search.study.record.journal_file import FileRetry
from search.study.record.journal_lines import ChecksumChain, ends_intact
from search.study.record.journal_opening import Lines
from search.study.record.record_pointer import RecordPointer

REMEDY = "restore the database from a backup, or start a new study"
_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Between tries to reach the server; the last one is repeated."""


class DatabaseLines(Lines):
    """Optuna's backend over the rows of one study, numbered from 0.

    A reader sees the journal as it was at opening. A writer holds the lock, so nothing that it did not write itself is
    ever added.
    """

    def __init__(self, pointer: RecordPointer, log: Path, session: DriverSession | None, retry: FileRetry) -> None:
        """log: its time of modification follows the journal's changes. session: of the writer, or None for a reader.

        Raises StudyError if the database has no such study or cannot be read, and OSError if it cannot be reached.
        """
        self._pointer, self._log, self._session, self._retry = pointer, log, session, retry
        self._read = ChecksumChain()
        self._unread = deque(read_lines(pointer) if session is None else session.run(self._all))
        self._is_verified = ends_intact(b"".join(self._unread))  # one checksum for all lines instead of each
        self._unacknowledged: list[list[str]] = []
        """What appends that failed would have added. Each may have been committed nevertheless."""

    @property
    def read_count(self) -> int:
        """Number of lines read so far, which is the number of the last one."""
        return self._read.lines

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any]]:
        """The entries that were not read yet; Optuna always continues where it stopped. Raises StudyError naming a
        damaged row."""
        if log_number_from != self._read.lines:
            raise ValueError(f"entries from {log_number_from} on were read already")
        while self._unread:
            entry = self._read.read(self._unread[0], is_verified=self._is_verified)
            if entry is None:
                raise StudyError(self._damage_text(self._read.blames(self._unread[0])))
            self._unread.popleft()
            yield entry

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries; they are committed when this returns.

        While the server cannot be reached, this tries again as the study's `FileRetry` says, then raises OSError. An
        entry is added once, even if the connection was lost before the server's answer. Raises StudyError if another
        driver has taken the study over.
        """
        if self._session is None:
            raise StudyError("the study is open for reading")
        session, lines = self._session, self._sealed(logs)
        self._retry.call(lambda: self._append(session, lines), self._pointer.storage, pauses_s=_PAUSES_S)
        self._unread.extend(line.encode() for line in lines)
        self._is_verified = False
        with contextlib.suppress(OSError):  # only tells `status --watch` and the report of a change
            os.utime(self._log)

    def _sealed(self, logs: Sequence[dict[str, Any]]) -> list[str]:
        chain, lines = self._read.copy(), []
        for line in self._unread:
            chain.read(line)
        for entry in logs:
            line = chain.sealed(entry)
            chain.read(line)
            lines.append(line.decode())
        return lines

    def _append(self, session: DriverSession, lines: list[str]) -> None:
        first = self._read.lines + len(self._unread)
        doubtful = list(self._unacknowledged)
        self._unacknowledged.append(lines)
        if doubtful:
            session.run(lambda connection: self._replace(connection, first, lines, doubtful))
        else:
            session.run(lambda connection: self._insert(connection, first, lines))
        self._unacknowledged.clear()

    def _replace(self, connection: Connection, first: int, lines: list[str], doubtful: list[list[str]]) -> None:
        """Append after appends of unknown outcome: what they left is kept if it is the same, else replaced."""
        with connection.transaction():
            found = _lines_from(connection, self._pointer, first)
            if found == lines:
                return
            if found and found not in doubtful:
                raise StudyError(self._foreign_text())
            connection.execute(
                "DELETE FROM carsearch_journal WHERE study = %s AND number >= %s", [self._pointer.study, first]
            )
            self._insert(connection, first, lines)

    def _insert(self, connection: Connection, first: int, lines: list[str]) -> None:
        try:  # one statement, so all lines or none
            connection.execute(
                "INSERT INTO carsearch_journal (study, number, line)"
                " SELECT %s, number, line FROM unnest(%s::bigint[], %s::text[]) AS new (number, line)",
                [self._pointer.study, [first + at for at in range(len(lines))], lines],
            )
        except UniqueViolation as error:
            raise StudyError(self._foreign_text()) from error

    def _all(self, connection: Connection) -> list[bytes]:
        return [line.encode() for line in _lines_from(connection, self._pointer, 0)]

    def _foreign_text(self) -> str:
        return (
            f"study {self._pointer.study} in {self._pointer.storage}: another driver has changed it meanwhile, so this"
            " one stops; 'carsearch status' shows what is recorded"
        )

    def _damage_text(self, lines: range) -> str:
        where = f"row {lines[-1] - 1}" if len(lines) == 1 else f"one of rows {lines[0] - 1} to {lines[-1] - 1}"
        return (
            f"study {self._pointer.study} in {self._pointer.storage}, {where} of carsearch_journal: damaged (not as it"
            f" was written): {REMEDY}"
        )


def read_lines(pointer: RecordPointer) -> list[bytes]:
    """All lines of a journal; together they are the content of a `study.log`.

    Raises StudyError if the database has no such study, and OSError if it cannot be reached.
    """
    with named_errors(pointer.storage), connect(pointer.storage) as connection:
        check_schema(connection)
        return [line.encode() for line in _lines_from(connection, pointer, 0)]


def forget_study(pointer: RecordPointer) -> None:
    """Delete a study from the database. Raises StudyError and OSError."""
    with named_errors(pointer.storage), connect(pointer.storage) as connection:
        connection.execute("DELETE FROM carsearch_studies WHERE id = %s", [pointer.study])


def _lines_from(connection: Connection, pointer: RecordPointer, first: int) -> list[str]:
    rows = connection.execute(
        "SELECT line FROM carsearch_journal WHERE study = %s AND number >= %s ORDER BY number", [pointer.study, first]
    )
    return [line for (line,) in rows.fetchall()]
