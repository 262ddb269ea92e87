"""The checkpoint to resume from if the newest one is lost. None is ever loaded partially."""

from pathlib import Path

import numpy as np
import pytest

from carcls.errors import CheckpointError
from carcls.training.checkpoint import save_state
from carcls.training.epoch_files import newest_intact
from carcls.training.position import Best, Position
from carcls.training.retention import best_name, checkpoint_name

BEST = Best(epoch=2, path=best_name(0, 2), image_size=32, accuracy=0.5, log_loss=1.0)


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    """Three epochs, of which the second is the best."""
    for epoch in (1, 2, 3):
        position = Position(epoch=epoch, log_losses=(1.0,) * epoch, best=None if epoch == 1 else BEST)
        arrays = {"model/kernel": np.full((16, 16), epoch, np.float32)}
        save_state(tmp_path / checkpoint_name(0, epoch), arrays, {"position": position.to_json()})
    save_state(tmp_path / BEST.path, {"model/kernel": np.zeros((16, 16), np.float32)}, {"image_size": 32})
    return tmp_path


def newest(folder: Path, *, with_best: bool = False) -> tuple[str | None, tuple[str, ...]]:
    return newest_intact(folder, checkpoint_name(0, 3), with_best=with_best)


def cut(path: Path, eighths: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * eighths // 8])


def test_an_intact_checkpoint_is_used_silently(trial):
    assert newest(trial, with_best=True) == (checkpoint_name(0, 3), ())


@pytest.mark.parametrize("eighths", range(8))
def test_one_cut_at_any_eighth_falls_back_to_the_one_before(trial, eighths):
    cut(trial / checkpoint_name(0, 3), eighths)
    name, lost = newest(trial)
    assert name == checkpoint_name(0, 2)
    (line,) = lost
    assert line.startswith(f"{trial / checkpoint_name(0, 3)}: not a complete checkpoint (")


def test_a_missing_checkpoint_falls_back_and_each_loss_is_reported(trial):
    (trial / checkpoint_name(0, 3)).unlink()
    cut(trial / checkpoint_name(0, 2), 4)
    name, lost = newest(trial)
    assert name == checkpoint_name(0, 1)
    assert lost[0] == f"{trial / checkpoint_name(0, 3)}: no such checkpoint"
    assert lost[1].startswith(f"{trial / checkpoint_name(0, 2)}: not a complete checkpoint (")


def test_without_any_checkpoint_it_starts_again(trial):
    for epoch in (1, 2, 3):
        (trial / checkpoint_name(0, epoch)).write_bytes(b"")
    name, lost = newest(trial)
    assert (name, len(lost)) == (None, 3)
    assert newest_intact(trial / "elsewhere", checkpoint_name(0, 3), with_best=False)[0] is None


def test_best_weights_count_only_where_they_are_needed(trial):
    cut(trial / BEST.path, 7)
    assert newest(trial)[0] == checkpoint_name(0, 3)
    name, lost = newest(trial, with_best=True)
    assert name == checkpoint_name(0, 1), "it was written before those were the best"
    assert len(lost) == 2
    assert all("best-0002.npz: not a complete checkpoint" in line for line in lost)


def test_a_checkpoint_without_a_position_is_skipped(trial):
    save_state(trial / checkpoint_name(0, 3), {}, {})
    name, (line,) = newest(trial)
    assert name == checkpoint_name(0, 2)
    assert "not the position of a training" in line


def test_a_name_that_leaves_the_folder_is_refused(trial):
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        newest_intact(trial, "../attempt-0/epoch-0003.npz", with_best=False)
