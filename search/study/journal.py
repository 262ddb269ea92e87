"""Optuna's journal file, made safe: one writer, and whatever a killed writer left is repaired before anybody reads."""

import fcntl
import os
import socket
import time
from pathlib import Path
from typing import IO, Self

from optuna.storages import JournalStorage

from carcls.system.atomic import is_full_disk, sync
from search.errors import StudyError
from search.study.journal_file import WAY_OUT, Patience, WholeLines
from search.study.journal_lines import Chain, is_unfinished
from search.terminal.logs import get_logger

_log = get_logger(__name__)

LOCK_NAME = "driver.lock"
"""The file of a `WriterLock`, in the folder that it guards."""
_APPEND_LOCK = ".lock"
"""What Optuna adds to the journal's name for the lock that it holds during one append."""
_PATIENCE_S = 0.5
"""Longer than another needs between taking the lock and writing its name, or than a look at the lock takes."""
_RETRY_S = 0.02


def open_journal(path: Path, patience: Patience | None = None) -> JournalStorage:
    """The storage in an absolute path. Raises StudyError, naming the line, where the file is damaged before its last
    line, and where it cannot be read; OSError where the disk has no room for it.
    """
    try:
        lines = WholeLines(path, patience)
        return JournalStorage(lines)
    except OSError as error:
        if is_full_disk(error):
            raise
        raise StudyError(f"{path}: cannot be read: {error.strerror or error}") from error
    # What Optuna raises over whole lines that make no sense: of a version without checksums, or of a later one.
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise StudyError(
            f"{path}, line {lines.read_count}: damaged, or written by another version"
            f" ({type(error).__name__}: {error}): {WAY_OUT}"
        ) from error


def create_journal(path: Path, patience: Patience | None = None) -> JournalStorage:
    """A new, empty one, whose name survives a power cut."""
    storage = open_journal(path, patience)
    sync(path.parent)
    return storage


def cut_torn_line(path: Path) -> int:
    """Removes what the last append left unfinished, and returns how many bytes that were. Only for the one writer.

    That is what stands after the last newline, to which the next append would be added; and a last line that is
    damaged, of which is told: a power cut may leave parts of an append that were never written.
    """
    chain, torn = Chain(), b""
    with path.open("rb") as file:
        for line in file:
            if torn:  # damage before the last line, which readers report
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
            "%s, line %d: damaged, as by a power cut or a failing disk, and cut off as the last one: what it recorded"
            " will be done again",
            path,
            chain.lines + 1,
        )
    return len(torn)


def free_stale_lock(path: Path) -> None:
    """Removes the append lock of a writer that was killed. Only for the one writer: nobody else can be appending."""
    path.with_name(path.name + _APPEND_LOCK).unlink(missing_ok=True)


class WriterLock:
    """Held by the one process that may write to a folder; the system frees it when that process ends, even killed.

    The file names its holder; after an end in good order it is empty.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    @classmethod
    def acquire(cls, folder: Path, *, advice: str = "wait for it, stop it, or look on with 'carsearch status'") -> Self:
        """Waits half a second at most. Raises StudyError naming the host and process that holds it, and `advice`.

        StudyError too where the folder cannot be written to, or its file system has no locks.
        """
        path = folder / LOCK_NAME
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise StudyError(f"{folder} cannot be written to: {error.strerror}") from error
        try:
            _take(file, folder, advice)
            _tell_of_lost_holder(_text(file), folder)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            os.fsync(file.fileno())  # on a network file system, for those who read it elsewhere
        except BaseException:
            file.close()
            raise
        return cls(file)

    def release(self) -> None:
        """Frees the lock. The file stays: removing it would let two processes lock two files of one name."""
        if not self._file.closed:
            self._file.truncate(0)
            self._file.close()


def is_held(folder: Path) -> bool:
    """True while a process holds the folder's `WriterLock`; a look, for whoever takes it now waits it out."""
    try:
        file = (folder / LOCK_NAME).open(encoding="utf-8")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # held, or a file system without locks, of which nothing can be known
            return True
    return False


def _take(file: IO[str], folder: Path, advice: str) -> None:
    give_up_at = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                raise StudyError(f"{folder} is in use by {_text(file) or 'another process'}: {advice}") from None
            time.sleep(_RETRY_S)
        except OSError as error:
            raise StudyError(
                f"{folder}: its file system has no locks ({error.strerror}), and two drivers would spoil the study:"
                " keep results on a local disk, or on a network file system that carries locks (NFS 4 does)"
            ) from error
        else:
            return


def _tell_of_lost_holder(text: str, folder: Path) -> None:
    """A holder on this host is dead, or the lock would not be free; of another host's only a warning can be given."""
    if text and not text.endswith(f" on {socket.gethostname()}"):
        _log.warning(
            "%s: its last driver, %s, did not end in good order. If it still runs, stop it now: not every network file"
            " system carries locks from one machine to another",
            folder,
            text,
        )


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip()
