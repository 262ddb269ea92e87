"""Which files of a trial are still needed, and deleting the others. Light: the driver, which has no Keras, uses it."""

import re
from collections.abc import Sequence
from pathlib import Path

from carcls.errors import CheckpointError
from carcls.events import EpochReport

_OURS = re.compile(r"attempt-\d+/(epoch|best)-\d{4,}\.npz")


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


def files_to_keep(reports: Sequence[EpochReport]) -> frozenset[str]:
    """Relative paths still needed: the last two checkpoints and the best weights that those two epochs name."""
    return frozenset(path for report in reports[-2:] for path in (report.checkpoint, report.best_weights))


def prune_checkpoints(folder: Path, reports: Sequence[EpochReport]) -> None:
    """Delete, of the files that a trial's reports name, all but `files_to_keep`. Nothing else in the folder is touched.

    Reports come in order of epochs. A name that is not one of ours is left alone: reports are data, not orders.
    """
    named = {path for report in reports for path in (report.checkpoint, report.best_weights)}
    for path in sorted(named - files_to_keep(reports)):
        if _OURS.fullmatch(path):
            (folder / path).unlink(missing_ok=True)


def remove_unrecorded(folder: Path, reports: Sequence[EpochReport]) -> None:
    """Delete what dead attempts left: checkpoints that no report names, and files cut off while being written.

    Only for a trial of which nothing runs: a living attempt's newest checkpoint is not recorded yet.
    """
    named = {folder / path for report in reports for path in (report.checkpoint, report.best_weights)}
    for path in folder.glob("attempt-*/*.npz"):
        if path not in named and path.is_file():
            path.unlink(missing_ok=True)
