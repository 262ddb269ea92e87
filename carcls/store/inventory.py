"""Lists and cleans the artefacts below a store's root."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from carcls.store.artefact import Trailer
from carcls.store.files import BUILDING, FINISHED, is_held, read_trailer, remove_unheld

COMPILED = "compiled"
"""Folder of compiled programs, which XLA reads and writes; see `carcls.backend.compile_cache`."""
CHECKED = ".checked"
DAMAGED = ".damaged"


@dataclass(frozen=True)
class Entry:
    """One artefact's file, finished or not, at the time of listing."""

    path: Path
    size_bytes: int
    last_use_unix_s: float
    is_held: bool
    """True if a process has it open or is building it."""

    @property
    def is_finished(self) -> bool:
        """False if it is being built, or its builder died."""
        return self.path.suffix == FINISHED

    def read_trailer(self) -> Trailer | None:
        """Its metadata. None if it is unfinished, damaged or gone."""
        return read_trailer(self.path) if self.is_finished else None


def survey(root: Path) -> list[Entry]:
    """All artefacts below `root`, least recently used first; empty if the folder does not exist."""
    found: dict[int, Entry] = {}  # by inode: a file that is published meanwhile is seen under two names
    paths = list(root.glob(f"*{BUILDING}"))
    paths += [*root.glob(f"*{FINISHED}"), *(path.with_suffix(FINISHED) for path in paths)]
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found[status.st_ino] = Entry(path, status.st_size, status.st_mtime, is_held(path))
    return sorted(found.values(), key=lambda entry: (entry.last_use_unix_s, entry.path.name))


def compiled_bytes(root: Path) -> int:
    """Size of the compiled programs below `root`."""
    total = 0
    for path in (root / COMPILED).rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def discard(path: Path) -> int:
    """Removes an artefact and its notes unless it is in use. Returns the bytes freed, 0 if it stays."""
    freed = remove_unheld(path)
    if freed:
        path.with_suffix(CHECKED).unlink(missing_ok=True)
    return freed


def clean(root: Path, *, kind: str | None = None, unused_since_unix_s: float | None = None) -> int:
    """Removes artefacts that are not in use and returns the bytes freed.

    kind: only artefacts of that kind. unused_since_unix_s: only those not used since then. If neither is given,
    compiled programs are removed too. Leftovers of dead builders and notes about missing artefacts are always removed.
    """
    freed = 0
    if kind is None and unused_since_unix_s is None:
        freed += compiled_bytes(root)
        shutil.rmtree(root / COMPILED, ignore_errors=True)
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
