"""Names of checkpoints in the middle of an epoch, and which of them are still needed. Keras-free, as `retention` is."""

import re
from pathlib import Path

from carcls.errors import CheckpointError

_PART = re.compile(r"attempt-(?P<attempt>\d+)/part-(?P<epoch>\d{4,})\.npz")


def part_name(attempt: int, epoch: int) -> str:
    """File with the full state within an epoch (counted from 1), relative to the trial's folder."""
    return f"attempt-{attempt}/part-{epoch:04d}.npz"


def is_part(name: str) -> bool:
    """True for the name of such a file."""
    return bool(_PART.fullmatch(name))


def part_file(folder: Path, relative: str) -> Path:
    """Path of such a file. Raises CheckpointError for a name that might leave the folder."""
    if not _PART.fullmatch(relative):
        raise CheckpointError(f"{relative!r} is no part of an epoch; expected a path such as {part_name(0, 3)!r}")
    return folder / relative


def parts_of(folder: Path, epoch: int) -> tuple[str, ...]:
    """The files of one epoch in a trial's folder, of the latest attempt first."""
    found = [(attempt, name) for attempt, number, name in _parts(folder) if number == epoch]
    return tuple(name for _, name in sorted(found, reverse=True))


def remove_parts(folder: Path, *, keep_epoch: int | None, others: bool = True) -> None:
    """Deletes the files of finished epochs, those before `keep_epoch`; all files if it is None.

    others: also those of later epochs, and all but the latest of that epoch. Only call it so for a trial that is not
    running.
    """
    kept = parts_of(folder, keep_epoch)[:1] if keep_epoch is not None else ()
    for _, epoch, name in _parts(folder):
        if name not in kept and (others or keep_epoch is None or epoch < keep_epoch):
            (folder / name).unlink(missing_ok=True)


def _parts(folder: Path) -> list[tuple[int, int, str]]:
    """(attempt, epoch, name) of each file in a trial's folder."""
    names = (path.relative_to(folder).as_posix() for path in folder.glob("attempt-*/part-*.npz") if path.is_file())
    parsed = (_PART.fullmatch(name) for name in names)
    return [(int(one["attempt"]), int(one["epoch"]), one.string) for one in parsed if one]
