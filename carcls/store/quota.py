"""Makes room for a new artefact within quota and free disk. Evicts the least recently used, never one that is open."""

import errno
import os
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

from carcls.store.disk import free_bytes
from carcls.store.files import exclusive
from carcls.store.inventory import Entry, compiled_bytes, discard, survey
from carcls.store.mirrors import mirrored_bytes

_LOCK_NAME = "room.lock"


class QuotaError(Exception):
    """The artefact does not fit the quota; the message says why."""


def reserve(root: Path, file: FileIO, size_bytes: int, *, quota_bytes: int | None) -> None:
    """Makes room for `size_bytes` and gives the claimed `file` that length, so that other processes count it.

    Serialised over all processes of the node. Raises QuotaError, and OSError (ENOSPC) if the disk is too small, in
    which case nothing was removed.
    """
    with exclusive(root / _LOCK_NAME, wait=True):
        missing = size_bytes - free_bytes(root)
        if quota_bytes is not None or missing > 0:
            _make_room(root, size_bytes, missing, quota_bytes)
        os.truncate(file.fileno(), size_bytes)


def _make_room(root: Path, size_bytes: int, missing_on_disk: int, quota_bytes: int | None) -> None:
    stock = survey(root)
    excess = missing_on_disk
    if quota_bytes is not None:
        excess = max(excess, _stored_bytes(root, stock) + size_bytes - quota_bytes)
    chosen = victims(stock, excess)
    # A file may have been opened since it was listed. It then stays, and another is removed instead.
    if chosen is not None and _discard_until(chosen, stock, excess):
        return
    if excess == missing_on_disk or quota_bytes is None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    held = sum(entry.size_bytes for entry in stock if entry.is_held)
    raise QuotaError(f"does not fit the quota of {quota_bytes / 1e9:.3g} GB, of which {held / 1e9:.3g} GB are in use")


def _stored_bytes(root: Path, stock: Sequence[Entry]) -> int:
    return sum(entry.size_bytes for entry in stock) + compiled_bytes(root) + mirrored_bytes(root)


def victims(stock: Sequence[Entry], excess_bytes: int) -> list[Entry] | None:
    """Artefacts to remove to free at least `excess_bytes`, or None if that is impossible. Pure.

    Unlocked unfinished files come first, since their builders are dead, then the least recently used. Artefacts in use
    are never chosen.
    """
    unheld = [entry for entry in stock if not entry.is_held]
    chosen: list[Entry] = []
    freed = 0
    for entry in sorted(unheld, key=lambda entry: (entry.is_finished, entry.last_use_unix_s, entry.path.name)):
        if freed >= excess_bytes:
            break
        chosen.append(entry)
        freed += entry.size_bytes
    return chosen if freed >= excess_bytes else None


def _discard_until(chosen: Sequence[Entry], stock: Sequence[Entry], excess_bytes: int) -> bool:
    """Removes the chosen artefacts, then others as needed. Returns whether enough was freed."""
    freed = 0
    for entry in [*chosen, *(entry for entry in stock if entry not in chosen)]:
        if freed >= excess_bytes:
            break
        freed += discard(entry.path)
    return freed >= excess_bytes
