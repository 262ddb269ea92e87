"""What lies under a store's root, and cleaning it."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from carcls.store.artefact import Trailer
from carcls.store.files import BUILDING, FINISHED, is_held, read_trailer, remove_unheld

CHECKED = ".checked"
DAMAGED = ".damaged"


@dataclass(frozen=True)
class Entry:
    """One artefact's file, finished or not, as it was found."""

    path: Path
    size_bytes: int
    last_use_unix_s: float
    is_held: bool
    """Somebody has it open, or builds it."""

    @property
    def is_finished(self) -> bool:
        """False: it is being built, or its builder died."""
        return self.path.suffix == FINISHED

    def read_trailer(self) -> Trailer | None:
        """What it tells about itself; None where it is unfinished, damaged or gone."""
        return read_trailer(self.path) if self.is_finished else None


def survey(root: Path) -> list[Entry]:
    """All artefacts under `root`, least recently used first; empty where there is no such folder."""
    found: dict[int, Entry] = {}  # by inode: one that is published meanwhile has two names, and counts once
    paths = list(root.glob(f"*{BUILDING}"))
    paths += [*root.glob(f"*{FINISHED}"), *(path.with_suffix(FINISHED) for path in paths)]
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found[status.st_ino] = Entry(path, status.st_size, status.st_mtime, is_held(path))
    return sorted(found.values(), key=lambda entry: (entry.last_use_unix_s, entry.path.name))


def discard(path: Path) -> int:
    """Removes an artefact that nobody holds, and the notes on it; returns the bytes freed, 0 where it stays."""
    freed = remove_unheld(path)
    if freed:
        path.with_suffix(CHECKED).unlink(missing_ok=True)
    return freed


def clean(root: Path, *, kind: str | None = None, unused_since_unix_s: float | None = None) -> int:
    """Removes what nobody has open, and returns the bytes freed.

    kind: only artefacts of that kind; unused_since_unix_s: only those not used since. What dead builders left, and
    notes on artefacts that are gone, go in any case.
    """
    freed = 0
    for entry in survey(root):
        recent = unused_since_unix_s is not None and entry.last_use_unix_s > unused_since_unix_s
        if entry.is_finished and (recent or (kind is not None and _kind(entry) != kind)):
            continue
        freed += discard(entry.path)
    for suffix in (CHECKED, DAMAGED):
        for note in root.glob(f"*{suffix}"):
            if not note.with_suffix(FINISHED).exists():
                note.unlink(missing_ok=True)
    return freed


def _kind(entry: Entry) -> object:
    trailer = entry.read_trailer()
    return None if trailer is None else trailer.artefact.key.get("kind")
