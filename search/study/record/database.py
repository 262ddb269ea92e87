"""Connections to the PostgreSQL database of a study's record, its tables, and what its errors mean here."""

import errno
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from search.errors import StudyError
from search.terminal.formatting import one_line

Connection = psycopg.Connection[tuple[Any, ...]]

_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""How this side notices a dead server, in seconds, and in milliseconds for the last; the address may say otherwise."""
_SESSION = """
    SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
"""The server frees the lock 30 s after a driver's machine is gone. It acknowledges no commit that is not on disk."""
_LOST = (
    psycopg.OperationalError,  # also: starting up, shutting down, no memory, no disk space, too many connections
    psycopg.InterfaceError,  # the connection is closed
    psycopg.errors.ReadOnlySqlTransaction,  # a standby that was not promoted yet
)
_MIGRATION_LOCK = 6_021_993_417_750_281_044
"""Key of the advisory lock under which the tables are made and changed."""

MIGRATIONS = (
    """
    CREATE TABLE carsearch_studies (
        id uuid PRIMARY KEY,
        name text NOT NULL,
        created timestamptz NOT NULL DEFAULT now(),
        driver text
    );
    CREATE TABLE carsearch_journal (
        study uuid NOT NULL REFERENCES carsearch_studies ON DELETE CASCADE,
        number bigint NOT NULL,
        line text NOT NULL,
        PRIMARY KEY (study, number)
    );
    """,
)
"""Each step leads from one version of the schema to the next. Steps are only ever added."""


def connect(url: str, *, name: str = "carsearch") -> Connection:
    """A new connection in autocommit mode. name: what the server's list of sessions shows.

    Password, certificates and defaults are libpq's: ~/.pgpass, PGPASSWORD, PGSERVICE and so on.
    """
    settings = {**_DEFAULTS, **conninfo_to_dict(url), "application_name": name}
    connection = psycopg.connect(make_conninfo("", **settings), autocommit=True)
    try:
        connection.execute(_SESSION)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def answered_within(connection: Connection, seconds: float) -> Iterator[None]:
    """Breaks the connection if the block takes longer: a server that hangs still acknowledges what it receives."""
    with socket.socket(fileno=os.dup(connection.fileno())) as twin:  # valid even if the connection is closed meanwhile
        timer = threading.Timer(seconds, _shut, [twin])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def named_errors(url: str) -> Iterator[None]:
    """Turns errors of the database into ours.

    A server that cannot be reached, or cannot work now, becomes an OSError that counts as an outage; everything else a
    StudyError. Both name the database. libpq's messages contain no passwords.
    """
    try:
        yield
    except _LOST as error:
        raise OSError(errno.ENOTCONN, one_line(str(error)) or "the connection is lost", url) from error
    except psycopg.Error as error:
        raise StudyError(f"{url}: {one_line(str(error))}") from error


def migrate(connection: Connection, steps: Sequence[str] = MIGRATIONS) -> None:
    """Make the tables, or bring them to this version's schema. Raises StudyError if a later version made them."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
        connection.execute("CREATE TABLE IF NOT EXISTS carsearch_schema (version integer NOT NULL)")
        version = _version(connection)
        if version > len(steps):
            raise StudyError(_too_new(version, len(steps)))
        for step in steps[version:]:
            connection.execute(step.encode())
        if version < len(steps):
            connection.execute("DELETE FROM carsearch_schema")
            connection.execute("INSERT INTO carsearch_schema VALUES (%s)", [len(steps)])


def check_schema(connection: Connection) -> None:
    """Raise StudyError if the tables are absent or of another version than this one reads."""
    found = connection.execute("SELECT to_regclass('carsearch_schema') IS NOT NULL").fetchone()
    version = _version(connection) if found == (True,) else 0
    if version > len(MIGRATIONS):
        raise StudyError(_too_new(version, len(MIGRATIONS)))
    if version < len(MIGRATIONS):
        raise StudyError(
            f"the database has carsearch's tables in version {version}, expected {len(MIGRATIONS)}:"
            " it is another one, or a restored older copy"
        )


def _version(connection: Connection) -> int:
    row = connection.execute("SELECT version FROM carsearch_schema").fetchone()
    return 0 if row is None else int(row[0])


def _too_new(version: int, known: int) -> str:
    return (
        f"the database has carsearch's tables in version {version}, but this carsearch knows {known}: update carsearch"
    )
