"""Creates and opens the record of a study in a PostgreSQL database, for `StudyStorage`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from optuna.storages import JournalStorage

from search.errors import StudyError
from search.study.driver_session import DriverSession
from search.study.record.database_journal import REMEDY, DatabaseLines
from search.study.record.journal_file import FileRetry
from search.study.record.journal_opening import replayed
from search.study.record.record_pointer import RecordPointer


def create_record(log: Path, storage: str, name: str, retry: FileRetry, locks: ExitStack) -> JournalStorage:
    """A new, empty record, to which `log` then points. Its lock is added to `locks`. Raises StudyError."""
    pointer = RecordPointer(storage, uuid4())
    pointer.write(log)  # first, so that an interrupted creation can still be deleted from the database
    with _named_outage():
        return _storage(pointer, log, DriverSession.create(pointer, name), retry, locks)


def open_record(
    pointer: RecordPointer, log: Path, retry: FileRetry, locks: ExitStack, *, read_only: bool
) -> JournalStorage:
    """An existing record. The lock of a writer is added to `locks`. Raises StudyError."""
    with _named_outage():
        session = None if read_only else DriverSession.open(pointer)
        return _storage(pointer, log, session, retry, locks)


def _storage(
    pointer: RecordPointer, log: Path, session: DriverSession | None, retry: FileRetry, locks: ExitStack
) -> JournalStorage:
    if session is not None:
        locks.callback(session.release)
    lines = DatabaseLines(pointer, log, session, retry)
    return replayed(lines, f"study {pointer.study} in {pointer.storage}, row", remedy=REMEDY)


@contextmanager
def _named_outage() -> Iterator[None]:
    """Turns an outage at opening, which is not waited for, into a StudyError."""
    try:
        yield
    except OSError as error:
        raise StudyError(f"{error.filename or 'the database'}: cannot be reached: {error.strerror or error}") from error
