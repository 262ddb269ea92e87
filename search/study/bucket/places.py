"""Which folders of this machine mirror studies in a bucket."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from search.errors import StudyError
from search.experiment.node_store import POINTER_NAME, keep_pointer, results_folder

if TYPE_CHECKING:
    from search.study.bucket.mirror import StudyMirror
    from search.study.bucket.writer_copy import WriterCopy

_used: set[Path] = set()
"""Mirrors that this process has worked in."""


def study_at(url: str, *, checkpoints: bool) -> Path:
    """The folder that mirrors the study at a URL, with what the bucket has now. Raises StudyError.

    checkpoints: whether trials' checkpoints are needed too.
    """
    base, mark, query = url.partition("?")
    results, _, name = base.rstrip("/").rpartition("/")
    if not name or not urlsplit(results).netloc + urlsplit(results).path.strip("/"):
        raise StudyError(f"{url}: expected the URL of a study, as results/name")
    folder = results_folder(f"{results}{mark}{query}")
    keep_pointer(folder, f"{results}{mark}{query}")
    refresh(folder / name, checkpoints=checkpoints)
    return folder / name


def refresh(root: Path, *, checkpoints: bool = True) -> None:
    """Bring a study's folder up to date if it mirrors one in a bucket. Raises StudyError."""
    found = _mirror_of(root)
    if found is not None:
        with _told(found[0]):
            found[0].pull(checkpoints=checkpoints)


def url_for_workers(folder: Path) -> str:
    """The URL where workers on other machines find a study or final training, with all that its folder has now.

    Empty for folders that mirror none. Raises StudyError.
    """
    found = _mirror_of(folder)
    if found is None:
        return ""
    from search.study.bucket.bucket import below  # noqa: PLC0415 - pyarrow, only for URLs

    mirror, part = found
    with _told(mirror):
        mirror.push(part.rstrip("/"))
    return below(mirror.bucket.url, part.rstrip("/")) if part else mirror.bucket.url


def begun_copy(folder: Path, locks: ExitStack) -> "WriterCopy | None":
    """For the writer of a study in a folder that mirrors one: keeps the bucket's copy up to date until `locks` close.

    None for other folders. Raises StudyError if another driver uses the study, or if the bucket cannot be reached.
    """
    found = _mirror_of(folder)
    if found is None:
        return None
    from search.study.bucket.writer_copy import WriterCopy  # noqa: PLC0415 - pyarrow, only for URLs

    mirror, part = found
    copy = WriterCopy(mirror, part)
    with _told(mirror):
        copy.begin()
    locks.callback(copy.end)
    return copy


@contextmanager
def creation(root: Path, *, replace: bool) -> Iterator[Callable[[], None]]:
    """Holds the bucket's lock while a study is created; what it yields stores the study there, once it has its folder.

    Both do nothing for folders that mirror none. Raises StudyError if the bucket has a study already, unless `replace`.
    """
    found = _mirror_of(root)
    if found is None:
        yield lambda: None
        return
    from search.study.bucket.driver_lock import BucketLock  # noqa: PLC0415 - pyarrow, only for URLs
    from search.study.bucket.mirror import LOCK_OBJECT  # noqa: PLC0415

    mirror, _ = found
    lock = BucketLock(mirror.bucket, LOCK_OBJECT, mirror.owner)
    with _told(mirror):
        lock.acquire()
    try:
        with _told(mirror):
            there = mirror.bucket.stamp("experiment.yaml") is not None
        if there and not replace:
            raise StudyError(
                f"{mirror.bucket.url} exists already: continue it with 'carsearch resume', or start over with"
                " '--replace', which deletes it"
            )

        def publish() -> None:
            with _told(mirror):
                mirror.publish()

        yield publish
    finally:
        lock.release()


def store_changes() -> None:
    """Store what this process has changed in its mirrors. Raises StudyError."""
    for root in sorted(_used):
        found = _mirror_of(root)
        if found is not None and root.is_dir():
            with _told(found[0]):
                found[0].push()


def has_bucket_driver(root: Path) -> bool:
    """True if the study that a folder mirrors has a driver somewhere, by the clocks of this machine and the bucket."""
    found = _mirror_of(root)
    if found is None:
        return False
    from search.study.bucket.driver_lock import STALE_S  # noqa: PLC0415 - pyarrow, only for URLs
    from search.study.bucket.mirror import LOCK_OBJECT  # noqa: PLC0415

    with _told(found[0]):
        lock = found[0].bucket.stamp(LOCK_OBJECT)
    return lock is not None and abs(time.time() - lock.mtime_ns / 1e9) < STALE_S


def forget_journal(folder: Path) -> None:
    """Delete the journal of a study from the bucket, and its other files that were deleted here.

    Does nothing for other folders.
    """
    found = _mirror_of(folder)
    if found is None:
        return
    from search.study.bucket.journal_parts import journal_of  # noqa: PLC0415 - pyarrow, only for URLs

    mirror, part = found
    with _told(mirror):
        for name in mirror.bucket.files():
            piece = journal_of(name)
            if piece is not None and piece[0] == f"{part}study.log":
                mirror.bucket.delete(name)
        mirror.push(part.rstrip("/"))


def _mirror_of(folder: Path) -> "tuple[StudyMirror, str] | None":
    """The mirror that a folder is, or whose final training it is, and which of the two ("" or "retrain/")."""
    for root, part in ((folder, ""), (folder.parent, f"{folder.name}/")):
        pointer = root.parent / POINTER_NAME
        if not root.name.startswith(".") and pointer.is_file():
            from search.study.bucket.bucket import Bucket, below  # noqa: PLC0415 - pyarrow, only for URLs
            from search.study.bucket.mirror import StudyMirror  # noqa: PLC0415

            _used.add(root)
            return StudyMirror(Bucket(below(pointer.read_text(encoding="utf-8").strip(), root.name)), root), part
    return None


@contextmanager
def _told(mirror: "StudyMirror") -> Iterator[None]:
    """Turns errors of the bucket into StudyError."""
    try:
        yield
    except OSError as error:
        raise StudyError(
            f"{mirror.bucket.url}: {error.strerror or error}: nothing is lost; call the command again once it can be"
            f" reached (this machine's copy: {mirror.root})"
        ) from error
