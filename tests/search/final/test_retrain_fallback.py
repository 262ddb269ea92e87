"""A final training whose checkpoints are lost: the exported model matches its reports."""

from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from carcls.events import EpochReport
from carcls.training.checkpoint import save_state
from carcls.training.position import Best, Position
from search.study.folder import StudyFolder
from search.worker.child import _resumable
from search.worker.outbox import Outbox
from search.worker.segment import Fallback, Notice, Segment
from tests.helpers.search.trial_builders import epoch_report

SEGMENT = Segment("", 0, 1, {}, "attempt-0/epoch-0003.npz", 0, "", 0, {}, 1, None, False, needs_best=True)


@pytest.fixture
def begun(tmp_path: Path) -> tuple[StudyFolder, list[EpochReport]]:
    """Three epochs, each better than the one before."""
    study = StudyFolder(tmp_path)
    study.trials.mkdir()
    reports = [epoch_report(epoch) for epoch in (1, 2, 3)]
    for report in reports:
        best = Best(report.epoch, report.best_weights, image_size=32, accuracy=0.1 * report.epoch, log_loss=1.0)
        position = Position(epoch=report.epoch, log_losses=(1.0,), best=best)
        save_state(study.trial(0) / report.checkpoint, {}, {"position": position.to_json()})
        save_state(study.trial(0) / report.best_weights, {}, {"image_size": 32})
    return study, reports


@pytest.fixture
def pipe() -> tuple[Connection, Outbox]:
    command, child = Pipe(duplex=False)
    return command, Outbox(child)


def test_whole_checkpoints_change_nothing(begun, pipe) -> None:
    (study, reports), (command, outbox) = begun, pipe
    assert _resumable(SEGMENT, study, outbox) == reports[-1].checkpoint
    assert _resumable(replace(SEGMENT, resume=None), study, outbox) is None
    assert not command.poll()


@pytest.mark.parametrize("kind", ["checkpoint", "best_weights"])
def test_a_torn_one_takes_its_epoch_along(begun, pipe, kind: str) -> None:
    (study, reports), (command, outbox) = begun, pipe
    torn = study.trial(0) / getattr(reports[-1], kind)
    torn.write_bytes(torn.read_bytes()[:-9])

    assert _resumable(SEGMENT, study, outbox) == "attempt-0/epoch-0002.npz"

    notice, told = command.recv(), command.recv()
    assert isinstance(notice, Notice)
    assert str(torn) in notice.text
    assert notice.text.endswith(": resumes from attempt-0/epoch-0002.npz")
    assert told == Fallback(epoch=2, stage=0)


def test_a_search_needs_no_best_weights_to_go_on(begun, pipe) -> None:
    (study, reports), (command, outbox) = begun, pipe
    (study.trial(0) / reports[-1].best_weights).unlink()
    assert _resumable(replace(SEGMENT, needs_best=False), study, outbox) == reports[-1].checkpoint
    assert not command.poll()


def test_without_any_it_starts_again(begun, pipe) -> None:
    (study, _), (command, outbox) = begun, pipe
    for path in study.root.rglob("*.npz"):
        path.unlink()
    assert _resumable(SEGMENT, study, outbox) is None
    notice, told = command.recv(), command.recv()
    assert isinstance(notice, Notice)
    assert notice.text.endswith(": starts again")
    assert told == Fallback(epoch=0, stage=0)
