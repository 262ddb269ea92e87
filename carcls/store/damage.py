"""Finds damaged content by its hash, on request and once per node and boot.

Notes beside <address>.npy: <address>.checked holds the id of the boot in which the content was last verified, and
<address>.damaged the id of a build that was found damaged, for processes that have used it.
"""

import contextlib
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from carcls.errors import DamagedStoreError
from carcls.store.artefact import Trailer
from carcls.store.disk import boot_id
from carcls.store.files import exclusive, is_whole_on_disk
from carcls.store.inventory import CHECKED, DAMAGED, survey
from carcls.system import atomic

_log = logging.getLogger(__name__)

_opened: dict[Path, Trailer] = {}
"""Artefacts that this process has used, by path. It must fail if any process finds one damaged. Inherited by forks."""


@dataclass(frozen=True)
class Verdict:
    """Result of checking one artefact."""

    path: Path
    name: str
    is_whole: bool


def verify(root: Path) -> list[Verdict]:
    """Reads and hashes every finished artefact. Removes damaged ones, so that their next use rebuilds them."""
    verdicts = []
    for entry in survey(root):
        if not entry.is_finished:
            continue
        trailer, is_whole = entry.read_trailer(), is_whole_on_disk(entry.path, threads=None)
        if is_whole is None:  # evicted while others were being read
            continue
        if is_whole:
            mark_checked(entry.path)
        else:
            remove_damaged(entry.path, trailer)
        verdicts.append(Verdict(entry.path, "unknown artefact" if trailer is None else trailer.artefact.name, is_whole))
    return verdicts


def note_opened(path: Path, trailer: Trailer) -> None:
    """Remembers that this process uses an artefact, and starts a check if there was none since the node booted."""
    _opened[path] = trailer
    if not _is_checked(path):
        threading.Thread(target=_check_in_background, args=(path, trailer), name="store-check", daemon=True).start()


def fail_on_damage() -> None:
    """Raises DamagedStoreError, once, if any process found an artefact damaged that this process has used."""
    for path, trailer in tuple(_opened.items()):
        with contextlib.suppress(OSError):
            if path.with_suffix(DAMAGED).read_text(encoding="ascii") == trailer.build:
                del _opened[path]
                raise DamagedStoreError(
                    f"{path}: {trailer.artefact.name} was damaged on disk after it was built, and this process has read"
                    " it; it was removed and its next use rebuilds it: check the disk, then run this training again"
                )


def mark_checked(path: Path) -> None:
    """Notes that the content was verified in this boot. If the note cannot be written, it is checked again."""
    with contextlib.suppress(OSError):
        path.with_suffix(CHECKED).write_text(boot_id(), encoding="ascii")


def remove_damaged(path: Path, trailer: Trailer | None) -> None:
    """Removes a damaged artefact, even while it is open, and leaves a note for its users. Raises OSError."""
    if trailer is not None:
        atomic.write_text(path.with_suffix(DAMAGED), trailer.build)
    path.unlink(missing_ok=True)
    path.with_suffix(CHECKED).unlink(missing_ok=True)


def _check_in_background(path: Path, trailer: Trailer) -> None:
    """Checks one artefact at the lowest priority, in a thread of its own. Only one process per node does the work."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # on Linux this affects only the thread
    try:
        with exclusive(path.with_suffix(CHECKED), wait=False) as turn:
            if turn is None or _is_checked(path):
                return
            is_whole = is_whole_on_disk(path, threads=1)
            if is_whole:
                mark_checked(path)
            elif is_whole is False:
                remove_damaged(path, trailer)
                _log.error("%s: %s is damaged; removed, its next use rebuilds it", path, trailer.artefact.name)
    except OSError as error:
        _log.warning("%s: could not be checked: %s", path, error)


def _is_checked(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.with_suffix(CHECKED).read_text(encoding="ascii") == boot_id()
    return False
