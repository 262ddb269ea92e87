"""Makes Optuna's journal file safe: it allows one writer, and repairs what a killed writer left behind."""

import fcntl
import os
import socket
import time
from pathlib import Path
from typing import IO, Self

from optuna.storages import JournalStorage

from carcls.system.atomic import is_full_disk, sync
from search.errors import InUseError, StudyError
from search.study.record.journal_file import FileRetry, Send, WholeLines
from search.study.record.journal_lines import ChecksumChain, ends_intact, is_unfinished
from search.study.record.journal_opening import replayed
from search.terminal.logs import get_logger

_log = get_logger(__name__)

LOCK_NAME = "driver.lock"
"""The file of a `WriterLock`, in the folder that it guards."""
_APPEND_LOCK = ".lock"
"""Suffix of the lock file that Optuna holds during an append."""
_LOCK_TIMEOUT_S = 0.5
"""Longer than another process needs to write its name after taking the lock, or to check the lock with `is_held`."""
_RETRY_S = 0.02
_ADVICE = "wait for it, stop it, or watch it with 'carsearch status'"


def open_journal(path: Path, retry: FileRetry | None = None, send: Send | None = None) -> JournalStorage:
    """The storage at an absolute path. send: see `WholeLines`.

    Raises StudyError if the file cannot be read or is damaged before its last line; the message names the line. Raises
    OSError if the disk is full.
    """
    try:
        return replayed(WholeLines(path, retry, send), f"{path}, line")
    except OSError as error:
        if is_full_disk(error):
            raise
        raise StudyError(f"{path}: cannot be read: {error.strerror or error}") from error


def create_journal(path: Path, retry: FileRetry | None = None, send: Send | None = None) -> JournalStorage:
    """A new, empty storage. Its directory entry is synced, so that it survives a power cut."""
    storage = open_journal(path, retry, send)
    sync(path.parent)
    return storage


def cut_torn_line(path: Path) -> int:
    """Remove an unfinished last append; returns the number of bytes removed. Only the writer may call this.

    This removes text after the last newline, to which the next append would be added. It also removes a damaged last
    line, with a warning, since a power cut may leave an append with parts that were never written.
    """
    if ends_intact(path.read_bytes()):  # spares a large journal being read line by line twice
        return 0
    chain, torn = ChecksumChain(), b""
    with path.open("rb") as file:
        for line in file:
            if torn:  # The damage is before the last line, which readers report.
                return 0
            if chain.read(line) is None:
                torn = line
    if not torn or len(chain.blames(torn)) > 1:
        return 0
    with path.open("r+b") as journal:
        journal.truncate(chain.end)
        os.fsync(journal.fileno())
    if not is_unfinished(torn):
        _log.warning(
            "%s, line %d: the last line was damaged, as by a power cut or a failing disk, and is cut off: what it"
            " recorded will be done again",
            path,
            chain.lines + 1,
        )
    return len(torn)


def free_stale_lock(path: Path) -> None:
    """Remove the append lock of a killed writer. Only the writer may call this, since no other process can append."""
    path.with_name(path.name + _APPEND_LOCK).unlink(missing_ok=True)


class WriterLock:
    """The lock of the one process that may write to a folder. The system frees it when that process ends or is killed.

    The lock file names its holder. After a clean exit it is empty.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    @classmethod
    def acquire(cls, folder: Path, *, advice: str = _ADVICE) -> Self:
        """Take the lock, waiting half a second at most.

        Raises StudyError with `advice` if another process holds it, naming the host and the process. Raises StudyError
        too if the folder cannot be written to, or if its file system has no locks.
        """
        path = folder / LOCK_NAME
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise StudyError(f"{folder} cannot be written to: {error.strerror}") from error
        try:
            _take(file, folder, advice)
            _warn_of_lost_holder(_text(file), folder)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            os.fsync(file.fileno())  # so that other machines can read it on a network file system
        except BaseException:
            file.close()
            raise
        return cls(file)

    def release(self) -> None:
        """Free the lock. The file stays: without it, two processes could lock two files of the same name."""
        if not self._file.closed:
            self._file.truncate(0)
            self._file.close()


def is_held(folder: Path) -> bool:
    """True while a process holds the folder's `WriterLock`.

    This takes a shared lock for a moment. A process that acquires the lock meanwhile waits that long.
    """
    try:
        file = (folder / LOCK_NAME).open(encoding="utf-8")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # held, or unknown on a file system without locks
            return True
    return False


def _take(file: IO[str], folder: Path, advice: str) -> None:
    give_up_at = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                raise InUseError(f"{folder} is in use by {_text(file) or 'another process'}: {advice}") from None
            time.sleep(_RETRY_S)
        except OSError as error:
            raise StudyError(
                f"{folder}: its file system has no locks ({error.strerror}), so two drivers could damage the study:"
                " keep results on a local disk, or on a network file system with locks (such as NFS 4)"
            ) from error
        else:
            return


def _warn_of_lost_holder(text: str, folder: Path) -> None:
    """Warn if the last holder was on another host. One on this host is dead, since the lock is free."""
    if text and not text.endswith(f" on {socket.gethostname()}"):
        _log.warning(
            "%s: its last driver, %s, did not exit cleanly. If it is still running, stop it now: not every network file"
            " system shares locks between machines",
            folder,
            text,
        )


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip()
