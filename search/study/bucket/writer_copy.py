"""Keeps the bucket's copy of a study up to date while one driver changes it."""

from pathlib import Path

from search.errors import StudyError
from search.study.bucket.driver_lock import BucketLock
from search.study.bucket.journal_parts import JournalParts
from search.study.bucket.mirror import LOCK_OBJECT, StudyMirror
from search.study.folder import StudyFolder
from search.terminal.logs import get_logger

_log = get_logger(__name__)


class WriterCopy:
    """For the process that holds the lock of a study's folder, or of its final training."""

    def __init__(self, mirror: StudyMirror, part: str) -> None:
        """part: "" for the search, "retrain/" for the final training."""
        self.url = mirror.bucket.url
        self._mirror = mirror
        self._part = part
        self._lock = BucketLock(mirror.bucket, f"{part}{LOCK_OBJECT}", mirror.owner)
        self._parts = JournalParts(mirror.bucket, f"{part}study.log")

    def begin(self) -> None:
        """Take the bucket's lock, and bring down what another machine has changed. Raises StudyError and OSError."""
        self._lock.acquire()
        try:
            self._mirror.pull(writer=self._part)
        except BaseException:
            self._lock.release()
            raise

    def begin_journal(self, log: Path) -> None:
        """From now on `send` stores what is appended to this journal, which was repaired."""
        self._parts.begin(log)

    def send(self, log: Path, end: int) -> None:
        """Store the journal up to a byte. Raises OSError, and StudyError if another driver has taken over."""
        self._lock.check()
        self._parts.send(log, end)

    def push_trial(self, number: int) -> None:
        """Store the files of a trial. Raises as `send`."""
        self._lock.check()
        self._mirror.push(self._trial(number))

    def bring_trial(self, number: int) -> None:
        """Bring down the files of a trial that a worker on another machine has stored. Raises as `send`."""
        self._lock.check()
        self._mirror.bring(self._trial(number))

    def _trial(self, number: int) -> str:
        folder = StudyFolder(self._mirror.root / self._part).trial(number)
        return folder.relative_to(self._mirror.root).as_posix()

    def end(self) -> None:
        """Store the other files, and free the lock. What cannot be stored now is logged, and stored by the next
        command on this machine."""
        try:
            self._lock.check()
            self._mirror.push()
        except (OSError, StudyError) as error:
            _log.warning("%s: not all files are there, but in %s: %s", self.url, self._mirror.root, error)
        finally:
            self._lock.release()
