from pathlib import Path

import pytest

from carcls.errors import CheckpointError
from carcls.events import EpochReport, PhaseSeconds
from carcls.training.retention import best_name, checkpoint_name, files_to_keep, prune_checkpoints, trial_file


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
        with pytest.raises(CheckpointError, match="names no checkpoint"):
            trial_file(tmp_path, name)
    assert trial_file(Path("t"), "attempt-1/best-0003.npz") == Path("t/attempt-1/best-0003.npz")
