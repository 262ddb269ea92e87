from pathlib import Path

import pytest

from carcls.errors import CheckpointError
from carcls.events import EpochReport, PhaseSeconds
from carcls.training.retention import (
    best_name,
    checkpoint_name,
    checkpoints_up_to,
    epoch_of,
    files_to_keep,
    is_best_weights,
    prune_checkpoints,
    prune_retrained,
    remove_unrecorded,
    trial_file,
)


def report(epoch: int, best: int) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        stage=0,
        stage_name="head",
        stage_epoch=epoch,
        stage_ended=False,
        train_loss=1.0,
        train_accuracy=0.5,
        val_log_loss=1.0,
        val_accuracy=0.5,
        val_macro_f1=0.5,
        learning_rate=0.1,
        image_size=32,
        images_per_s=1.0,
        trainable_parameters=1,
        seconds=PhaseSeconds(1.0, 1.0),
        checkpoint=checkpoint_name(0, epoch),
        best_weights=best_name(0, best),
    )


def test_pruning_keeps_the_last_two_and_the_best_they_name(tmp_path):
    reports = [report(1, 1), report(2, 2), report(3, 2), report(4, 4)]
    assert files_to_keep(reports) == {
        f"attempt-0/{n}.npz" for n in ("epoch-0003", "epoch-0004", "best-0002", "best-0004")
    }
    folder = tmp_path / "attempt-0"
    folder.mkdir()
    named = [f"epoch-{n:04d}.npz" for n in (1, 2, 3, 4)] + [f"best-{n:04d}.npz" for n in (1, 2, 4)]
    for name in [*named, "epoch-0009.npz", "output.log"]:
        (folder / name).touch()
    prune_checkpoints(tmp_path, reports)
    left = {path.name for path in folder.iterdir()}
    assert left == {
        "epoch-0003.npz",
        "epoch-0004.npz",
        "best-0002.npz",
        "best-0004.npz",
        "epoch-0009.npz",
        "output.log",
    }


def test_names_that_leave_the_folder_are_neither_deleted_nor_opened(tmp_path):
    outside = tmp_path / "precious.npz"
    outside.touch()
    hostile = EpochReport.from_json(report(1, 1).to_json() | {"checkpoint": "../precious.npz"})
    prune_checkpoints(tmp_path / "trial", [hostile, report(2, 2), report(3, 3)])
    assert outside.exists()
    for name in ("../precious.npz", "/etc/passwd", "attempt-0/../epoch-0001.npz", "attempt-0/epoch-0001.npz\n"):
        with pytest.raises(CheckpointError, match="is not a checkpoint"):
            trial_file(tmp_path, name)
    assert trial_file(Path("t"), "attempt-1/best-0003.npz") == Path("t/attempt-1/best-0003.npz")


def lying(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_resume_candidates_are_newest_first_and_never_later(tmp_path):
    lying(
        tmp_path,
        *(f"attempt-0/epoch-{n:04d}.npz" for n in (2, 3, 5)),
        *("attempt-1/epoch-0002.npz", "attempt-10/epoch-0001.npz", "attempt-0/best-0003.npz", "attempt-0/output.log"),
    )
    assert checkpoints_up_to(tmp_path, "attempt-0/epoch-0004.npz") == (
        "attempt-0/epoch-0004.npz",  # although it is missing, so that this is reported
        "attempt-0/epoch-0003.npz",
        "attempt-1/epoch-0002.npz",
        "attempt-0/epoch-0002.npz",
        "attempt-10/epoch-0001.npz",
    )
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        checkpoints_up_to(tmp_path, "../epoch-0004.npz")


def test_names_tell_kind_and_epoch():
    assert [is_best_weights(name) for name in ("attempt-1/best-0003.npz", "attempt-1/epoch-0003.npz", "best.npz")] == [
        True,
        False,
        False,
    ]
    assert epoch_of("attempt-12/epoch-0034.npz") == 34
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        epoch_of("epoch-0034.npz")


def test_leftovers_of_dead_attempts_go_except_replacements_of_lost_epochs(tmp_path):
    reports = [report(1, 1), report(2, 2), report(3, 3)]
    named = {path for one in reports for path in (one.checkpoint, one.best_weights)}
    again = {f"attempt-1/{kind}-{n:04d}.npz" for kind in ("epoch", "best") for n in (1, 2, 3)}
    lying(tmp_path, *named, *again, "attempt-1/epoch-0004.npz", "attempt-1/best-0004.npz", "attempt-0/epoch-0009.npz")
    lying(tmp_path, "attempt-1/.0123.epoch-0004.npz", "attempt-1/output.log")
    stand_ins = {name for name in again if "0001" not in name}

    remove_unrecorded(tmp_path, reports)
    assert left(tmp_path) == named | stand_ins | {"attempt-1/output.log"}

    caught_up = EpochReport.from_json(report(4, 4).to_json() | {"checkpoint": "attempt-1/epoch-0004.npz"})
    remove_unrecorded(tmp_path, [*reports, caught_up])
    assert left(tmp_path) == named | {"attempt-1/output.log"}


def test_while_epochs_are_trained_again_the_last_two_are_kept(tmp_path):
    reports = [report(n, n) for n in (1, 2, 3, 4)]
    lying(tmp_path, *(f"attempt-0/epoch-{n:04d}.npz" for n in (3, 4)))
    for epoch in (1, 2, 3):
        lying(tmp_path, f"attempt-1/epoch-{epoch:04d}.npz", f"attempt-1/best-{epoch:04d}.npz")
        prune_retrained(tmp_path, reports)
    assert left(tmp_path) == {
        *("attempt-0/epoch-0003.npz", "attempt-0/epoch-0004.npz"),
        *(f"attempt-1/{kind}-{n:04d}.npz" for kind in ("epoch", "best") for n in (2, 3)),
    }
    prune_retrained(tmp_path, [])
    assert len(left(tmp_path)) == 6
