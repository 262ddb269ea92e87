"""A study's folder on this machine and in a bucket: what changed in one is brought to the other."""

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock

from carcls.system import atomic
from carcls.system.threads import for_each
from search.study.bucket.bucket import Bucket, Stamp
from search.study.bucket.journal_parts import joined, journal_of, part_name
from search.study.bucket.ledger import Ledger
from search.study.record.journal import is_held

LOCK_OBJECT = "driver.json"
"""The lock of a driver, see `BucketLock`."""
_THREADS = 8
_CHECKPOINT = re.compile(r".*/attempt-[0-9]+/[^/]+\.npz")
_OWN = re.compile(r"(.*/)?(\..*|driver\.lock|driver\.json|study\.log(\..*)?|requests/.*|[^/]+\.lock)")
"""Files that are not copied as they are: those of this machine alone, and the journals, which have pieces."""
_FROM_WORKERS = re.compile(r"(retrain(-[0-9]+)?/)?trials/[0-9]+/(attempt-[0-9]+/[^./][^/]*|pseudo\.csv)")
"""What only workers write; the driver's own files of a trial never come down over it."""
_FINAL = re.compile(r"retrain(-[0-9]+)?/")
"""Folders of the final trainings, in each of which a process may work while another searches."""
_LOG = "study.log"
_STUDY = "experiment.yaml"
"""Stored after all others of a new study, since it makes the folder a study."""


class StudyMirror:
    """One study. Each process makes its own; a file lock keeps two from bringing files down at once."""

    def __init__(self, bucket: Bucket, root: Path) -> None:
        """root: the folder on this machine, which may not exist yet."""
        self.bucket = bucket
        self.root = root
        self._ledger = Ledger(root / ".bucket.sqlite")
        self._lock = threading.Lock()

    @property
    def owner(self) -> str:
        """An identity of this folder, so that a lock of a killed process is known as ours."""
        path = self.root.with_name(f".{self.root.name}.bucket-owner")
        with suppress(FileNotFoundError):
            return path.read_text(encoding="ascii")
        atomic.write_text(path, uuid4().hex)
        return path.read_text(encoding="ascii")

    def pull(self, *, checkpoints: bool = True, writer: str | None = None) -> None:
        """Bring down what the bucket has and this folder lacks, or has otherwise. Does nothing if there is no study.

        checkpoints: whether trials' checkpoints are needed. writer: "" for the process that holds the folder's lock,
        "retrain/" and the like for the one that holds a final training's. What another process works on is left alone.
        Raises StudyError if the journal's pieces contradict each other, and OSError.
        """
        self.root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root.parent / f".{self.root.name}.pull.lock"):
            far = self.bucket.files()
            if _STUDY not in far:
                return
            known = self._ledger.read() if self.root.is_dir() else {}
            parts = {_part(name) for name in (*far, *known)}
            busy = {part for part in parts if part != writer and is_held(self.root / part)}
            far = {name: stamp for name, stamp in far.items() if _part(name) not in busy}
            self.root.mkdir(exist_ok=True)
            wanted = [
                name
                for name in far
                if not _OWN.fullmatch(name)
                and journal_of(name) is None
                and (checkpoints or not _CHECKPOINT.fullmatch(name))
            ]
            for_each(lambda name: self._bring(name, far[name], known.get(name)), wanted, threads=_THREADS)
            for name in known.keys() - far.keys():
                if _part(name) in busy:
                    continue
                if self._here(name) == known[name][0]:
                    self._path(name).unlink(missing_ok=True)
                self._ledger.forget(name)
            for tries_left in (2, 1, 0):
                try:
                    self._bring_journals(name for name in far if _part(name) not in busy)
                    break
                except FileNotFoundError:  # pieces were joined meanwhile
                    if not tries_left:
                        raise
                    far = self.bucket.files()

    def bring(self, under: str) -> None:
        """Bring down what workers have stored below a folder. What was deleted here stays deleted. Raises OSError."""
        with self._lock:
            known, far = self._ledger.read(under), self.bucket.files(under)
            new = [
                name
                for name, stamp in far.items()
                if _FROM_WORKERS.fullmatch(name) and (name not in known or known[name][1] != stamp)
            ]
            for_each(lambda name: self._bring(name, far[name], None), new, threads=_THREADS)

    def push(self, under: str = "") -> None:
        """Store what changed here below a folder, and delete what was deleted here. Raises OSError."""
        with self._lock:
            if not (self.root / under).is_dir():
                return
            known = self._ledger.read(under)
            here = dict(self._files(under))
            changed = [name for name, stamp in here.items() if name not in known or known[name][0] != stamp]
            for_each(
                lambda name: self._store(name, here[name]),
                [name for name in changed if name != _STUDY],
                threads=_THREADS,
            )
            if _STUDY in changed:
                self._store(_STUDY, here[_STUDY])
            for name in known:
                if name not in here and self._here(name) is None:
                    self.bucket.delete(name)
                    self._ledger.forget(name)

    def publish(self) -> None:
        """Store a new study in place of whatever the bucket has under its name. Raises OSError."""
        for name in sorted(self.bucket.files(), key=lambda name: name != _STUDY):
            if not name.endswith(LOCK_OBJECT):
                self.bucket.delete(name)
        for name in self._ledger.read():
            self._ledger.forget(name)
        log = self.root / _LOG
        if log.is_file():
            self.bucket.put(part_name(_LOG, 0), log.read_bytes())
        self.push()

    def _bring(self, name: str, far: Stamp, known: tuple[Stamp, Stamp] | None) -> None:
        here = self._here(name)
        if known is not None and known[1] == far and here is not None:
            return  # the same, or changed here since
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a driver on another machine has deleted it since
            with atomic.published(path) as temporary:
                self.bucket.fetch(name, temporary)
            brought = self._here(name)
            if brought is not None and brought.size == far.size:  # otherwise that driver has changed it since
                self._ledger.note(name, brought, far)

    def _bring_journals(self, far: Iterable[str]) -> None:
        logs: dict[str, dict[int, str]] = {}
        for name in far:
            if found := journal_of(name):
                logs.setdefault(found[0], {})[found[1]] = name
        for log, parts in logs.items():
            contents = {begin: self.bucket.get(name) for begin, name in parts.items()}
            journal = joined(contents, f"{self.bucket.url}: {log}")
            path = self._path(log)
            if not path.is_file() or path.read_bytes() != journal:
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic.published(path) as temporary:
                    temporary.write_bytes(journal)

    def _store(self, name: str, here: Stamp) -> None:
        with suppress(FileNotFoundError):  # deleted since
            self.bucket.put(name, self._path(name))
            if far := self.bucket.stamp(name):
                self._ledger.note(name, here, far)

    def _files(self, under: str) -> Iterator[tuple[str, Stamp]]:
        for path in (self.root / under).rglob("*"):
            name = path.relative_to(self.root).as_posix()
            if not _OWN.fullmatch(name) and path.is_file() and (stamp := self._here(name)):
                yield name, stamp

    def _here(self, name: str) -> Stamp | None:
        try:
            status = self._path(name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stamp(status.st_size, status.st_mtime_ns)

    def _path(self, name: str) -> Path:
        return self.bucket.path_below(self.root, name)


def _part(name: str) -> str:
    found = _FINAL.match(name)
    return found[0] if found else ""
