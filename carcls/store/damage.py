"""Damage that header and length do not show: found by content hash, on request and once per node and boot.

Next to <address>.npy may lie <address>.checked (the boot in which its content was last found whole) and
<address>.damaged (the build that was found damaged, for those who have used it).
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
"""What this process has used, by path: it must hear of damage that anybody finds. Forked children inherit it."""


@dataclass(frozen=True)
class Verdict:
    """What came of checking one artefact."""

    path: Path
    name: str
    is_whole: bool


def verify(root: Path) -> list[Verdict]:
    """Reads and hashes every finished artefact; removes the damaged ones, so that their next use builds them anew."""
    verdicts = []
    for entry in survey(root):
        if not entry.is_finished:
            continue
        trailer, is_whole = entry.read_trailer(), is_whole_on_disk(entry.path, threads=None)
        if is_whole is None:  # evicted while others were read
            continue
        if is_whole:
            mark_checked(entry.path)
        else:
            condemn(entry.path, trailer)
        verdicts.append(Verdict(entry.path, "unknown artefact" if trailer is None else trailer.artefact.name, is_whole))
    return verdicts


def note_opened(path: Path, trailer: Trailer) -> None:
    """Remembers that this process uses an artefact, and has it checked where nobody did so since the node's boot."""
    _opened[path] = trailer
    if not _is_checked(path):
        threading.Thread(target=_check_in_background, args=(path, trailer), name="store-check", daemon=True).start()


def fail_on_damage() -> None:
    """Raises DamagedStoreError, once, where something that this process has used was found damaged, by whoever did."""
    for path, trailer in tuple(_opened.items()):
        with contextlib.suppress(OSError):
            if path.with_suffix(DAMAGED).read_text(encoding="ascii") == trailer.build:
                del _opened[path]
                raise DamagedStoreError(
                    f"{path}: {trailer.artefact.name} was damaged on disk after it was built, and this process has read"
                    " it; it was removed and its next use builds it anew: check the disk, then run this training again"
                )


def mark_checked(path: Path) -> None:
    """Notes that the content was whole in this boot. A note that cannot be written only means another check."""
    with contextlib.suppress(OSError):
        path.with_suffix(CHECKED).write_text(boot_id(), encoding="ascii")


def condemn(path: Path, trailer: Trailer | None) -> None:
    """Takes a damaged artefact from the store, whoever holds it, and leaves a note for them. Raises OSError."""
    if trailer is not None:
        atomic.write_text(path.with_suffix(DAMAGED), trailer.build)
    path.unlink(missing_ok=True)
    path.with_suffix(CHECKED).unlink(missing_ok=True)


def _check_in_background(path: Path, trailer: Trailer) -> None:
    """In a thread of its own, at the lowest priority; one process of the node does it, the others go by its note."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # Linux: of this thread alone
    try:
        with exclusive(path.with_suffix(CHECKED), wait=False) as turn:
            if turn is None or _is_checked(path):
                return
            is_whole = is_whole_on_disk(path, threads=1)
            if is_whole:
                mark_checked(path)
            elif is_whole is False:
                condemn(path, trailer)
                _log.error("%s: %s is damaged; removed, its next use builds it anew", path, trailer.artefact.name)
    except OSError as error:
        _log.warning("%s: could not be checked: %s", path, error)


def _is_checked(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.with_suffix(CHECKED).read_text(encoding="ascii") == boot_id()
    return False
