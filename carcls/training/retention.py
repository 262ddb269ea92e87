"""Decides which files of a trial are still needed and deletes the others. Keras-free, since the driver uses it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carcls.errors import CheckpointError
from carcls.events import EpochReport
from carcls.training.part_names import parts_of, remove_parts

_OURS = re.compile(r"attempt-(?P<attempt>\d+)/(?P<kind>epoch|best)-(?P<epoch>\d{4,})\.npz")


def checkpoint_name(attempt: int, epoch: int) -> str:
    """File with the full state after an epoch, relative to the trial's folder."""
    return f"attempt-{attempt}/epoch-{epoch:04d}.npz"


def best_name(attempt: int, epoch: int) -> str:
    """File with the weights of an epoch that was the best so far, relative to the trial's folder."""
    return f"attempt-{attempt}/best-{epoch:04d}.npz"


def trial_file(folder: Path, relative: str) -> Path:
    """Path of a file in a report or resume. Raises CheckpointError for a name that might leave the folder."""
    if not _OURS.fullmatch(relative):
        raise CheckpointError(
            f"{relative!r} is not a checkpoint of a trial; expected a path such as {checkpoint_name(0, 3)!r}"
        )
    return folder / relative


@dataclass(frozen=True, slots=True, order=True)
class _File:
    """The parsed name of a checkpoint. Sorts by age, the newest last."""

    epoch: int
    attempt: int
    is_best: bool
    name: str


def _parse(name: str) -> _File | None:
    found = _OURS.fullmatch(name)
    return found and _File(int(found["epoch"]), int(found["attempt"]), found["kind"] == "best", name)


def epoch_of(name: str) -> int:
    """Epoch of a checkpoint, counted from 1. Raises CheckpointError for any other name."""
    trial_file(Path(), name)
    file = _parse(name)
    return file.epoch if file else 0


def is_checkpoint(name: str) -> bool:
    """True for the name of a full state or of best weights, relative to the trial's folder."""
    return bool(_OURS.fullmatch(name))


def is_best_weights(name: str) -> bool:
    """True for a file of best weights, False for a full state or any other name."""
    file = _parse(name)
    return file is not None and file.is_best


def all_checkpoints(folder: Path) -> tuple[str, ...]:
    """Names of all checkpoints in a trial's folder, relative to it, the oldest epoch first."""
    return tuple(file.name for file in _files(folder))


def _files(folder: Path) -> list[_File]:
    """All checkpoints in a trial's folder, the newest last."""
    parsed = (_parse(path.relative_to(folder).as_posix()) for path in folder.glob("attempt-*/*.npz") if path.is_file())
    return sorted(file for file in parsed if file)


def checkpoints_up_to(folder: Path, newest: str) -> tuple[str, ...]:
    """Checkpoints to resume from, in order: `newest`, then others of the same or earlier epochs, latest first.

    Raises CheckpointError if `newest` is not a checkpoint's name.
    """
    trial_file(folder, newest)
    last = _parse(newest)
    others = [file for file in _files(folder) if not file.is_best and last and file.epoch <= last.epoch]
    return (newest, *(file.name for file in reversed(others) if file.name != newest))


def files_to_keep(reports: Sequence[EpochReport]) -> frozenset[str]:
    """Relative paths still needed: the last two checkpoints and the best weights that they refer to."""
    return frozenset(path for report in reports[-2:] for path in (report.checkpoint, report.best_weights))


def prune_checkpoints(folder: Path, reports: Sequence[EpochReport]) -> None:
    """Deletes files that a trial's reports refer to, except `files_to_keep`, and parts of reported epochs. Touches
    nothing else in the folder.

    Reports are in order of epochs. Names that are not checkpoints are ignored, since reports are untrusted data.
    """
    for path in sorted(_named(reports) - files_to_keep(reports)):
        if _OURS.fullmatch(path):
            (folder / path).unlink(missing_ok=True)
    remove_parts(folder, keep_epoch=len(reports) + 1, others=False)


def remove_unrecorded(folder: Path, reports: Sequence[EpochReport], *, continues: bool = True) -> None:
    """Deletes leftovers of dead attempts: checkpoints that no report refers to, and partly written files.

    Keeps the newest checkpoints of epochs that a later attempt has retrained, since they replace lost ones, and, if the
    trial `continues`, the latest part of its next epoch. Only call it for a trial that is not running: a running
    attempt's newest checkpoint is not recorded yet.
    """
    next_epoch = len(reports) + 1
    remove_parts(folder, keep_epoch=next_epoch if continues else None)
    kept = _named(reports) | {file.name for file in _newest(_retrained(folder, reports))}
    kept |= set(parts_of(folder, next_epoch))
    # The pattern also matches temporary files of interrupted writes, whose names begin with a dot.
    for path in folder.glob("attempt-*/*.npz"):
        if path.relative_to(folder).as_posix() not in kept and path.is_file():
            path.unlink(missing_ok=True)


def prune_retrained(folder: Path, reports: Sequence[EpochReport]) -> None:
    """Deletes all but the newest checkpoints of retrained epochs, while epochs in `reports` are trained again.

    Touches no file that a report refers to.
    """
    again = _retrained(folder, reports)
    for file in set(again) - set(_newest(again)):
        (folder / file.name).unlink(missing_ok=True)


def _named(reports: Sequence[EpochReport]) -> set[str]:
    return {path for report in reports for path in (report.checkpoint, report.best_weights)}


def _retrained(folder: Path, reports: Sequence[EpochReport]) -> list[_File]:
    """Checkpoints of already recorded epochs, written by attempts after the last recorded one."""
    last = _parse(reports[-1].checkpoint) if reports else None
    if last is None:
        return []
    return [file for file in _files(folder) if file.attempt > last.attempt and file.epoch <= len(reports)]


def _newest(files: Sequence[_File]) -> list[_File]:
    """The last two checkpoints and the last two best weights, which are those that they refer to."""
    return [*[file for file in files if not file.is_best][-2:], *[file for file in files if file.is_best][-2:]]
