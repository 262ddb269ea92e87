"""Optuna's journal file, made safe: one writer, and whatever a killed writer left is repaired before anybody reads."""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO, Self

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from search.errors import StudyError

LOCK_NAME = "driver.lock"
"""The file of a `WriterLock`, in the folder that it guards."""
_APPEND_LOCK = ".lock"
"""What Optuna adds to the journal's name for the lock that it holds during one append."""


def open_journal(path: Path) -> JournalStorage:
    """The storage in an absolute path. By an exclusive file, not Optuna's symbolic link: a link to a journal that was
    moved points nowhere, and whoever waits for it waits for ever."""
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))


def cut_torn_line(path: Path) -> int:
    """Removes what stands after the last newline, and returns how many bytes that were.

    Optuna would read past a torn line, append to it, and refuse the file from then on. Only for the one writer.
    """
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as journal:
            journal.truncate(whole)
            os.fsync(journal.fileno())
    return len(content) - whole


def free_stale_lock(path: Path) -> None:
    """Removes the append lock of a writer that was killed. Only for the one writer: nobody else can be appending."""
    path.with_name(path.name + _APPEND_LOCK).unlink(missing_ok=True)


class WriterLock:
    """Held by the one process that may write to a folder; the system frees it when that process ends, even killed."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    @classmethod
    def acquire(cls, folder: Path, *, advice: str = "wait for it, stop it, or look on with 'carsearch status'") -> Self:
        """Never waits. Raises StudyError naming the host and process that holds it, and `advice`."""
        file = (folder / LOCK_NAME).open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise StudyError(f"{folder} is in use by {holder}: {advice}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        return cls(file)

    def release(self) -> None:
        """Frees the lock. The file stays: removing it would let two processes lock two files of one name."""
        self._file.close()
