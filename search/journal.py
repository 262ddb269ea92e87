"""Optuna's journal file, made safe: one writer, and whatever a killed writer left is repaired before anybody reads."""

import fcntl
import json
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
from search.logs import get_logger

_log = get_logger(__name__)

LOCK_NAME = "driver.lock"
"""The file of a `WriterLock`, in the folder that it guards."""
_APPEND_LOCK = ".lock"
"""What Optuna adds to the journal's name for the lock that it holds during one append."""
_ENTRY = {"op_code", "worker_id"}
"""What every entry of Optuna's has: what to do, and for whom."""
_PATIENCE_S = 0.5
"""Longer than another needs between taking the lock and writing its name, or than a look at the lock takes."""
_RETRY_S = 0.02


class _WholeLines(JournalFileBackend):
    """Optuna's file, of which half a line counts for nothing.

    Half a line of a full disk would make one unreadable line with the next, so a failed append leaves none. Optuna
    itself calls fsync in each append.
    """

    def __init__(self, path: Path) -> None:
        """By an exclusive file, not Optuna's symbolic link: a link to a journal that was moved points nowhere, and
        whoever waits for it waits for ever."""
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path)))
        self._begins = {0: 0}

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any]]:
        """The entries from that one on, which is the first or was read before, as far as they are whole.

        A last line that is no entry is being written, or was when its writer was killed or the power cut, and is not
        there: `cut_torn_line` takes it away, but a reader may change nothing. Raises ValueError at any other.
        """
        with Path(self._file_path).open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            at = file.seek(self._begins[log_number_from])
            for number, line in enumerate(file, start=log_number_from + 1):
                at += len(line)
                entry = _entry(line)
                if entry is None and at >= end:
                    return
                if entry is None:
                    raise ValueError("no entry of a journal")
                self._begins[number] = at
                yield entry

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        before = Path(self._file_path).stat().st_size
        try:
            with naming_full_disk(Path(self._file_path)):
                super().append_logs(logs)
        except BaseException:  # a Ctrl-C between writing and returning too: what was not acknowledged is not there
            os.truncate(self._file_path, before)
            raise


def open_journal(path: Path) -> JournalStorage:
    """The storage in an absolute path. Raises StudyError, naming the line, where the file is damaged before its last
    line."""
    try:
        return JournalStorage(_WholeLines(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # what Optuna raises over lines not its own
        where = _first_damaged_line(path)
        raise StudyError(
            f"{path}{f', line {where}' if where else ''}: damaged ({type(error).__name__}: {error}):"
            " put back a copy of this file, or start a new study"
        ) from error


def create_journal(path: Path) -> JournalStorage:
    """A new, empty one, whose name survives a power cut."""
    storage = open_journal(path)
    sync(path.parent)
    return storage


def cut_torn_line(path: Path) -> int:
    """Removes what the last append left unfinished, and returns how many bytes that were. Only for the one writer.

    That is what stands after the last newline, to which the next append would be added; and a last line that is no
    entry: a power cut may leave parts of an append that were never written.
    """
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    begin = content.rfind(b"\n", 0, max(whole - 1, 0)) + 1
    if whole and _entry(content[begin:whole]) is None:
        whole = begin
    if whole < len(content):
        with path.open("r+b") as journal:
            journal.truncate(whole)
            os.fsync(journal.fileno())
    return len(content) - whole


def free_stale_lock(path: Path) -> None:
    """Removes the append lock of a writer that was killed. Only for the one writer: nobody else can be appending."""
    path.with_name(path.name + _APPEND_LOCK).unlink(missing_ok=True)


def _entry(line: bytes) -> dict[str, Any] | None:
    """What Optuna wrote in one append; None where the line is none, or not to its end."""
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:  # not JSON, or no text at all
        return None
    return entry if isinstance(entry, dict) and entry.keys() >= _ENTRY else None


def _first_damaged_line(path: Path) -> int | None:
    with path.open("rb") as file:
        return next((number for number, line in enumerate(file, start=1) if _entry(line) is None), None)


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
