"""Which parts of epochs are kept."""

from pathlib import Path

import pytest

from carcls.errors import CheckpointError
from carcls.training.part_names import part_file, part_name, parts_of, remove_parts
from carcls.training.retention import checkpoint_name, prune_checkpoints, remove_unrecorded
from tests.helpers.search.trial_builders import epoch_report

NEW, OLD, PAST, LATER = part_name(2, 3), part_name(0, 3), part_name(1, 2), part_name(0, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (NEW, OLD, PAST, LATER, checkpoint_name(0, 1)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.npz")}


def test_the_latest_attempt_comes_first(folder: Path) -> None:
    assert parts_of(folder, 3) == (NEW, OLD)
    assert parts_of(folder, 9) == ()


def test_a_running_trial_keeps_all_but_finished_epochs(folder: Path) -> None:
    remove_parts(folder, keep_epoch=3, others=False)
    assert left(folder) == {NEW, OLD, LATER, checkpoint_name(0, 1)}


def test_a_waiting_trial_keeps_the_latest_part_of_its_next_epoch(folder: Path) -> None:
    reports = [epoch_report(1), epoch_report(2)]
    remove_unrecorded(folder, reports)
    assert left(folder) & {NEW, OLD, PAST, LATER} == {NEW}


def test_a_trial_that_is_over_keeps_none(folder: Path) -> None:
    remove_unrecorded(folder, [epoch_report(1), epoch_report(2)], continues=False)
    assert left(folder) & {NEW, OLD, PAST, LATER} == set()


def test_reports_end_the_parts_of_their_epochs(folder: Path) -> None:
    prune_checkpoints(folder, [epoch_report(epoch) for epoch in (1, 2, 3)])
    assert left(folder) & {NEW, OLD, PAST, LATER} == {LATER}


def test_a_name_does_not_leave_the_folder(tmp_path: Path) -> None:
    assert part_file(tmp_path, NEW) == tmp_path / NEW
    for name in ("../part-0001.npz", "attempt-0/epoch-0001.npz", "attempt-0/part-1.npz"):
        with pytest.raises(CheckpointError, match="is no part of an epoch"):
            part_file(tmp_path, name)
