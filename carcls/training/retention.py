"""Which files of a trial are still needed, and deleting the others. Light: the driver, which has no Keras, uses it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carcls.errors import CheckpointError
from carcls.events import EpochReport

_OURS = re.compile(r"attempt-(?P<attempt>\d+)/(?P<kind>epoch|best)-(?P<epoch>\d{4,})\.npz")


def checkpoint_name(attempt: int, epoch: int) -> str:
    """Full state after an epoch, relative to the trial's folder."""
    return f"attempt-{attempt}/epoch-{epoch:04d}.npz"


def best_name(attempt: int, epoch: int) -> str:
    """Weights of an epoch that was the best so far, relative to the trial's folder."""
    return f"attempt-{attempt}/best-{epoch:04d}.npz"


def trial_file(folder: Path, relative: str) -> Path:
    """The file that a report or a resume names. Raises CheckpointError for a name that might leave the folder."""
    if not _OURS.fullmatch(relative):
        raise CheckpointError(
            f"{relative!r} names no checkpoint of a trial; expected a path such as {checkpoint_name(0, 3)!r}"
        )
    return folder / relative


@dataclass(frozen=True, slots=True, order=True)
class _File:
    """What a checkpoint's name says; sorts by age, the newest last."""

    epoch: int
    attempt: int
    is_best: bool
    name: str


def _parse(name: str) -> _File | None:
    found = _OURS.fullmatch(name)
    return found and _File(int(found["epoch"]), int(found["attempt"]), found["kind"] == "best", name)


def epoch_of(name: str) -> int:
    """Epoch, counted from 1, of a checkpoint. Raises CheckpointError for a name that is none of a checkpoint."""
    trial_file(Path(), name)
    file = _parse(name)
    return file.epoch if file else 0


def is_best_weights(name: str) -> bool:
    """True for weights alone, False for a full state and for what is no checkpoint."""
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
    """`newest`, and whatever else lies there of no later epoch, the latest first: what a training may go on from.

    Raises CheckpointError for a name that is none of a checkpoint.
    """
    trial_file(folder, newest)
    last = _parse(newest)
    others = [file for file in _files(folder) if not file.is_best and last and file.epoch <= last.epoch]
    return (newest, *(file.name for file in reversed(others) if file.name != newest))


def files_to_keep(reports: Sequence[EpochReport]) -> frozenset[str]:
    """Relative paths still needed: the last two checkpoints and the best weights that those two epochs name."""
    return frozenset(path for report in reports[-2:] for path in (report.checkpoint, report.best_weights))


def prune_checkpoints(folder: Path, reports: Sequence[EpochReport]) -> None:
    """Delete, of the files that a trial's reports name, all but `files_to_keep`. Nothing else in the folder is touched.

    Reports come in order of epochs. A name that is not one of ours is left alone: reports are data, not orders.
    """
    for path in sorted(_named(reports) - files_to_keep(reports)):
        if _OURS.fullmatch(path):
            (folder / path).unlink(missing_ok=True)


def remove_unrecorded(folder: Path, reports: Sequence[EpochReport]) -> None:
    """Delete what dead attempts left: checkpoints that no report names, and files cut off while being written.

    Kept is what an attempt since the last report has trained again, its own checkpoint being lost: it stands in for
    that. Only for a trial of which nothing runs: a living attempt's newest checkpoint is not recorded yet.
    """
    kept = _named(reports) | {file.name for file in _newest(_trained_again(folder, reports))}
    for path in folder.glob("attempt-*/*.npz"):
        if path.relative_to(folder).as_posix() not in kept and path.is_file():
            path.unlink(missing_ok=True)


def prune_trained_again(folder: Path, reports: Sequence[EpochReport]) -> None:
    """While epochs are trained again that `reports` hold already: of those that stand in for them, keep the newest.

    Nothing that a report names is touched.
    """
    again = _trained_again(folder, reports)
    for file in set(again) - set(_newest(again)):
        (folder / file.name).unlink(missing_ok=True)


def _named(reports: Sequence[EpochReport]) -> set[str]:
    return {path for report in reports for path in (report.checkpoint, report.best_weights)}


def _trained_again(folder: Path, reports: Sequence[EpochReport]) -> list[_File]:
    """Checkpoints of epochs that are recorded with other ones, by attempts later than the last recorded."""
    last = _parse(reports[-1].checkpoint) if reports else None
    if last is None:
        return []
    return [file for file in _files(folder) if file.attempt > last.attempt and file.epoch <= len(reports)]


def _newest(files: Sequence[_File]) -> list[_File]:
    """The last two checkpoints, and the last two best weights, which are those that they name."""
    return [*[file for file in files if not file.is_best][-2:], *[file for file in files if file.is_best][-2:]]
