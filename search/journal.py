"""Optuna's journal file, made safe: one writer, and whatever a killed writer left is repaired before anybody reads."""

import fcntl
import os
import socket
import time
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any, Self

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from carcls.atomic import naming_full_disk, sync
from search.errors import StudyError
from search.journal_lines import Chain, is_unfinished
from search.logs import get_logger

_log = get_logger(__name__)

LOCK_NAME = "driver.lock"
"""The file of a `WriterLock`, in the folder that it guards."""
_APPEND_LOCK = ".lock"
"""What Optuna adds to the journal's name for the lock that it holds during one append."""
_WAY_OUT = "put back a copy of this file, or start a new study"
_PATIENCE_S = 0.5
"""Longer than another needs between taking the lock and writing its name, or than a look at the lock takes."""
_RETRY_S = 0.02


class _WholeLines(JournalFileBackend):
    """Optuna's file, whose lines carry checksums, and of which half a line counts for nothing.

    Half a line of a full disk would make one unreadable line with the next, so a failed append leaves none.
    """

    def __init__(self, path: Path) -> None:
        """By an exclusive file, not Optuna's symbolic link: a link to a journal that was moved points nowhere, and
        whoever waits for it waits for ever."""
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path)))
        self._path = path
        self._read = Chain()
        self._warned = False

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any]]:
        """The entries from that one on, counted from 0, as far as they are whole.

        A damaged last line is left out: it is being written, or was when its writer was killed or the power cut.
        `cut_torn_line` takes it away, but a reader may change nothing. Raises StudyError, naming the line, for any
        other damage.
        """
        if log_number_from != self._read.lines:  # never in Optuna 5, which reads on
            self._read = Chain()
        with self._path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            file.seek(self._read.end)
            for line in file:
                entry = self._read.read(line)
                if entry is None:
                    self._meet_damage(line, is_last=self._read.end + len(line) >= end)
                    return
                if self._read.lines > log_number_from:
                    yield entry

    def _meet_damage(self, line: bytes, *, is_last: bool) -> None:
        blamed = self._read.blames(line)
        if not is_last or len(blamed) > 1:
            raise StudyError(_damage_text(self._path, blamed))
        if not is_unfinished(line) and not self._warned:
            self._warned = True
            _log.warning("%s, line %d: the last one is damaged and left out", self._path, self._read.lines + 1)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """On disk when it returns. Raises DiskFullError, and OSError where the disk refuses otherwise."""
        self._lock.acquire()
        try:
            before = self._path.stat().st_size
            try:
                with naming_full_disk(self._path):
                    self._append(logs)
            except BaseException:  # a Ctrl-C between writing and returning too: what was not acknowledged is not there
                os.truncate(self._path, before)
                raise
        finally:
            self._lock.release()

    def _append(self, logs: list[dict[str, Any]]) -> None:
        with self._path.open("r+b") as file:
            chain = self._read.copy()
            file.seek(chain.end)
            for line in file:  # what another program has appended, such as a note of optuna-dashboard
                if chain.read(line) is None:
                    raise StudyError(_damage_text(self._path, chain.blames(line)))
            lines = []
            for entry in logs:
                lines.append(chain.sealed(entry))
                chain.read(lines[-1])
            file.seek(0, os.SEEK_END)
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())


def open_journal(path: Path) -> JournalStorage:
    """The storage in an absolute path. Raises StudyError, naming the line, where the file is damaged before its last
    line."""
    try:
        return JournalStorage(_WholeLines(path))
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror or error}") from error
    # What Optuna raises over whole lines that make no sense: of a version without checksums, or of a later one.
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise StudyError(
            f"{path}: damaged, or written by another version ({type(error).__name__}: {error}): {_WAY_OUT}"
        ) from error


def _damage_text(path: Path, lines: range) -> str:
    where = f"line {lines[-1]}" if len(lines) == 1 else f"one of lines {lines[0]} to {lines[-1]}"
    return f"{path}, {where}: damaged (not as it was written): {_WAY_OUT}"


def create_journal(path: Path) -> JournalStorage:
    """A new, empty one, whose name survives a power cut."""
    storage = open_journal(path)
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
            if torn:  # damage before the last line, which whoever reads it tells of
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
            "%s, line %d: the last one was damaged, as by a power cut or a failing disk, and is cut off: what it"
            " recorded will be done again",
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
