"""PostgreSQL's advisory lock of a study: the one driver that holds it may change the study."""

from uuid import UUID

from search.study.record.database import Connection, connect, named_errors
from search.study.record.record_pointer import RecordPointer

_HALF = 32
"""Bits of each half of a key, as the server lists it."""


def try_lock(connection: Connection, study: UUID) -> bool:
    """Take the lock for this connection, if it is free. The server frees it when the connection ends."""
    return connection.execute("SELECT pg_try_advisory_lock(%s)", [_key(study)]).fetchone() == (True,)


def free_lock(connection: Connection, study: UUID) -> None:
    """Free the lock that this connection holds; the server itself notices the connection's end only later."""
    connection.execute("SELECT pg_advisory_unlock(%s)", [_key(study)])


def holders(connection: Connection, study: UUID) -> list[tuple[int, str]]:
    """Process number at the server, and name, of the connection that holds the lock; empty if it is free."""
    key = _key(study) % (1 << 2 * _HALF)
    rows = connection.execute(
        "SELECT pid, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        [key >> _HALF, key % (1 << _HALF)],
    )
    return [(pid, name) for pid, name in rows.fetchall()]


def has_driver(pointer: RecordPointer) -> bool:
    """True while a driver holds the study's lock. Raises OSError and StudyError as `named_errors` says."""
    with named_errors(pointer.storage), connect(pointer.storage) as connection:
        return bool(holders(connection, pointer.study))


def _key(study: UUID) -> int:
    """The lock's key, a signed number of 64 bits."""
    return int.from_bytes(study.bytes[:8], signed=True)
