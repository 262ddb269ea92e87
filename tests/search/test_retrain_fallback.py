"""A final training whose checkpoints are lost: what is trained again is forgotten first."""

import json
from pathlib import Path

import pytest

from carcls.events import EpochReport
from carcls.training.checkpoint import save_state
from carcls.training.position import Best, Position
from search.folder import StudyFolder
from search.retrain import _resumable
from search.scores import read_reports
from tests.search.trial_builders import epoch_report


@pytest.fixture
def begun(tmp_path: Path) -> tuple[StudyFolder, list[EpochReport]]:
    """Three epochs, each better than the one before."""
    folder = StudyFolder(tmp_path)
    reports = [epoch_report(epoch) for epoch in (1, 2, 3)]
    for report in reports:
        best = Best(report.epoch, report.best_weights, image_size=32, accuracy=0.1 * report.epoch, log_loss=1.0)
        position = Position(epoch=report.epoch, log_losses=(1.0,), best=best)
        save_state(folder.retrain / report.checkpoint, {}, {"position": position.to_json()})
        save_state(folder.retrain / report.best_weights, {}, {"image_size": 32})
    lines = [json.dumps(report.to_json()) + "\n" for report in reports]
    folder.retrain_reports.write_text("".join(lines), encoding="utf-8")
    return folder, reports


def test_whole_checkpoints_change_nothing(begun) -> None:
    folder, reports = begun
    said: list[str] = []
    assert _resumable(folder, reports, said.append) == reports[-1].checkpoint
    assert (len(reports), said) == (3, [])
    assert _resumable(StudyFolder(folder.root / "other"), [], said.append) is None


@pytest.mark.parametrize("kind", ["checkpoint", "best_weights"])
def test_a_torn_one_takes_its_epoch_along(begun, kind: str) -> None:
    folder, reports = begun
    torn = folder.retrain / getattr(reports[-1], kind)
    torn.write_bytes(torn.read_bytes()[:-9])
    said: list[str] = []

    assert _resumable(folder, reports, said.append) == "attempt-0/epoch-0002.npz"

    assert [report.epoch for report in reports] == [1, 2]
    assert list(read_reports(folder.retrain_reports)) == reports
    (line,) = said
    assert str(torn) in line
    assert line.endswith(": going on from attempt-0/epoch-0002.npz")


def test_without_any_it_starts_again(begun) -> None:
    folder, reports = begun
    for path in folder.retrain.rglob("*.npz"):
        path.unlink()
    said: list[str] = []
    assert _resumable(folder, reports, said.append) is None
    assert (reports, list(read_reports(folder.retrain_reports))) == ([], [])
    assert said[0].endswith(": starting again")
