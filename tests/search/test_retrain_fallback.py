"""A final training whose checkpoints are lost: child and command forget first what is then trained again."""

import json
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from carcls.config import TrainConfig
from carcls.events import EpochReport
from carcls.training.checkpoint import save_state
from carcls.training.position import Best, Position
from search.cluster.outbox import Outbox
from search.cluster.segment import Fallback, read_fallback
from search.final_child import going_on_from
from search.final_job import read_line
from search.final_log import FinalLog
from search.folder import StudyFolder
from search.scores import read_reports
from search.tensorboard import read_events
from tests.search.trial_builders import epoch_report

STAGE = {"name": "head", "unfreeze": 0.0, "epochs": 9, "learning_rate": 0.1}
CONFIG = TrainConfig.model_validate({"backbone": "MobileNet", "image_size": 32, "batch_size": 8, "stages": [STAGE]})


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


@pytest.fixture
def pipe() -> tuple[Connection, Outbox]:
    command, child = Pipe(duplex=False)
    return command, Outbox(child)


def test_whole_checkpoints_change_nothing(begun, pipe) -> None:
    (folder, reports), (command, outbox) = begun, pipe
    assert going_on_from(folder, reports, outbox) == reports[-1].checkpoint
    assert going_on_from(StudyFolder(folder.root / "other"), [], outbox) is None
    assert (len(reports), command.poll()) == (3, False)


@pytest.mark.parametrize("kind", ["checkpoint", "best_weights"])
def test_a_torn_one_takes_its_epoch_along(begun, pipe, kind: str) -> None:
    (folder, reports), (command, outbox) = begun, pipe
    torn = folder.retrain / getattr(reports[-1], kind)
    torn.write_bytes(torn.read_bytes()[:-9])

    assert going_on_from(folder, reports, outbox) == "attempt-0/epoch-0002.npz"

    assert [report.epoch for report in reports] == [1, 2]
    line, told = read_line(command.recv()), read_fallback(command.recv())
    assert line is not None
    assert str(torn) in line
    assert line.endswith(": going on from attempt-0/epoch-0002.npz")
    assert told == Fallback(epoch=2, stage=0)
    log = FinalLog(folder, CONFIG)
    log.forget_beyond(told.epoch)
    assert list(log.reports) == list(read_reports(folder.retrain_reports)) == reports
    log.add(epoch_report(3))
    log.forget_beyond(1)
    log.add(epoch_report(2))
    assert read_events(folder.retrain).epochs == {2}, "of what this log has told; 1 was told by an earlier one"


def test_without_any_it_starts_again(begun, pipe) -> None:
    (folder, reports), (command, outbox) = begun, pipe
    for path in folder.retrain.rglob("*.npz"):
        path.unlink()
    assert going_on_from(folder, reports, outbox) is None
    line, told = read_line(command.recv()), read_fallback(command.recv())
    assert line is not None
    assert line.endswith(": starting again")
    assert told == Fallback(epoch=0, stage=0)
    log = FinalLog(folder, CONFIG)
    log.forget_beyond(told.epoch)
    assert (reports, log.reports, read_reports(folder.retrain_reports)) == ([], (), ())
