"""The one connection of a driver to its study's record in PostgreSQL: it holds the lock, and makes all changes."""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable
from typing import Self, TypeVar
from uuid import uuid4

from search.errors import InUseError, StudyError
from search.study.record.database import Connection, answered_within, connect, migrate, named_errors
from search.study.record.database_lock import free_lock, holders, try_lock
from search.study.record.record_pointer import RecordPointer
from search.terminal.logs import get_logger

_log = get_logger(__name__)

ANSWER_TIMEOUT_S = 60.0
"""For the server's answer to one change. Then the connection counts as lost."""
RELEASE_TIMEOUT_S = 5.0
"""For the server's answer to the end of the session."""
_LOCK_TIMEOUT_S = 0.5
"""How long to wait for the lock of another process on this machine."""
_OTHER_HOST_TIMEOUT_S = 45.0
"""The same on another machine: longer than the server needs to notice that the machine is gone."""
_POLL_S = 0.1
_ADVICE = "wait for it, stop it, or watch it with 'carsearch status'"

_Result = TypeVar("_Result")


class DriverSession:
    """The writer of one study. Not thread-safe.

    The advisory lock belongs to the connection that also makes the changes. So a change that is committed proves that
    the lock was held, and a lock that was taken again proves that the lost connection's last change has been committed
    or never will be.
    """

    def __init__(self, pointer: RecordPointer) -> None:
        self.pointer = pointer
        self._name = f"carsearch {uuid4().hex[:16]}"
        """Name of its connections in the server's list of sessions."""
        self._driver = f"process {os.getpid()} on {socket.gethostname()}"
        self._connection: Connection | None = None

    @classmethod
    def create(cls, pointer: RecordPointer, name: str) -> Self:
        """The session of a new, empty study; makes the tables if needed. Raises StudyError and OSError."""
        session = cls(pointer)
        with named_errors(pointer.storage), connect(pointer.storage) as connection:
            migrate(connection)
            connection.execute("INSERT INTO carsearch_studies (id, name) VALUES (%s, %s)", [pointer.study, name])
        session._acquire()
        return session

    @classmethod
    def open(cls, pointer: RecordPointer) -> Self:
        """The session of an existing study. Raises StudyError if another driver holds its lock, and OSError.

        Waits half a second for another process of this machine, and 45 s for one of another machine, which may be gone.
        """
        session = cls(pointer)
        with named_errors(pointer.storage), connect(pointer.storage) as connection:
            migrate(connection)
        session._acquire()
        return session

    def run(self, action: Callable[[Connection], _Result]) -> _Result:
        """Run an action under the lock. After an error the connection is dropped, and the next call opens another.

        Raises OSError if the server cannot be reached, so that the caller may try again, and StudyError if another
        driver has taken the lock meanwhile.
        """
        try:
            with named_errors(self.pointer.storage):
                if self._connection is None:
                    self._take_back()
                connection = self._open_connection()
                with answered_within(connection, ANSWER_TIMEOUT_S):
                    return action(connection)
        except BaseException:  # Ctrl-C too: nothing is known about the action then
            self._drop()
            raise

    def release(self) -> None:
        """Free the lock. May be called twice. Does not wait long for a server that hangs: it frees the lock of a
        connection that ended."""
        if self._connection is not None:
            with (
                contextlib.suppress(OSError, StudyError),
                named_errors(self.pointer.storage),
                answered_within(self._connection, RELEASE_TIMEOUT_S),
            ):
                self._connection.execute(
                    "UPDATE carsearch_studies SET driver = NULL WHERE id = %s", [self.pointer.study]
                )
                free_lock(self._connection, self.pointer.study)
            self._drop()

    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("no connection")  # a bug in this class
        return self._connection

    def _acquire(self) -> None:
        """Connect, and take the lock for the first time."""
        started_s, waits = time.monotonic(), False
        try:
            with named_errors(self.pointer.storage):
                connection = self._connection = connect(self.pointer.storage, name=self._name)
                while not try_lock(connection, self.pointer.study):
                    driver = self._held_by(connection)
                    is_far = bool(driver) and not driver.endswith(f" on {socket.gethostname()}")
                    limit_s = _OTHER_HOST_TIMEOUT_S if is_far else _LOCK_TIMEOUT_S
                    if time.monotonic() - started_s >= limit_s:
                        raise InUseError(f"{self._label} is in use by {driver or 'another process'}: {_ADVICE}")
                    if is_far and not waits:
                        _log.warning("%s is in use by %s: waits %g s, in case it is gone", self._label, driver, limit_s)
                        waits = True
                    time.sleep(_POLL_S)
                self._sign(connection)
        except BaseException:
            self._drop()
            raise

    def _take_back(self) -> None:
        """Connect again, and take the lock again."""
        connection = self._connection = connect(self.pointer.storage, name=self._name)
        if not try_lock(connection, self.pointer.study):
            held = holders(connection, self.pointer.study)
            lost = [pid for pid, name in held if name == self._name]
            for pid in lost:  # the server does not know yet that our connection is gone
                connection.execute("SELECT pg_terminate_backend(%s)", [pid])
            if lost or not held:
                raise OSError(errno.ENOTCONN, "the lost connection still holds the lock", self.pointer.storage)
            driver = self._held_by(connection) or "another process"
            raise StudyError(f"{self._label}: {driver} has taken the study over: this driver stops")
        self._sign(connection)

    def _sign(self, connection: Connection) -> None:
        named = connection.execute(
            "UPDATE carsearch_studies SET driver = %s WHERE id = %s", [self._driver, self.pointer.study]
        )
        if not named.rowcount:
            raise StudyError(f"{self.pointer.storage} has no study {self.pointer.study}: is it the right database?")

    def _held_by(self, connection: Connection) -> str:
        row = connection.execute("SELECT driver FROM carsearch_studies WHERE id = %s", [self.pointer.study]).fetchone()
        return "" if row is None or row[0] is None else str(row[0])

    @property
    def _label(self) -> str:
        return f"study {self.pointer.study} in {self.pointer.storage}"

    def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(Exception):
                connection.close()
