"""How a trial's process handles errors and lost checkpoints, without training."""

import errno
import logging
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from carcls.errors import (
    CheckpointError,
    ConfigError,
    DamagedStoreError,
    DataError,
    DeviceError,
    DiskFullError,
    DivergedError,
    MisfitError,
    PartError,
    WeightsError,
)
from carcls.training.checkpoint import save_state
from carcls.training.position import Position
from search.driver.disk_room import DiskRoom
from search.experiment.search_settings import CheckpointSettings
from search.policy.records import TrialState
from search.policy.rungs import Ladder
from search.study.folder import StudyFolder
from search.worker import child
from search.worker.child import _redirect_output, _resumable, _usable_gpus, outcome_of
from search.worker.outbox import Outbox
from search.worker.segment import Fallback, Message, Outcome, Segment
from tests.helpers.search.trial_builders import climb, trial

SEGMENT = Segment(
    study="",
    number=3,
    attempt=1,
    config={},
    resume=None,
    stop_after_stage=0,
    data_root="",
    view_seed=0,
    store={},
    threads=1,
    gpu_share=None,
    deterministic=False,
)


class XlaRuntimeError(RuntimeError):
    """Has the name of JAX's error."""


BROKEN_GPU = Outcome("killed", "XlaRuntimeError: CUDA_ERROR_LAUNCH_FAILED", gpu_fault=True)
BROKEN_DNN = replace(BROKEN_GPU, cause="XlaRuntimeError: DNN library initialization failed: CUDA_ERROR_LAUNCH_FAILED")
DOUBTFUL = Outcome("doubtful", "XlaRuntimeError: DNN library initialization failed")


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (DiskFullError("a.npz: no room"), Outcome("disk_full", "DiskFullError: a.npz: no room")),
        (OSError(errno.EDQUOT, "over quota"), Outcome("disk_full", "OSError: [Errno 122] over quota")),
        (DivergedError("NaN\nand more"), Outcome("infeasible", "DivergedError: NaN")),
        (ValueError("odd"), Outcome("failed", "ValueError: odd")),
        (XlaRuntimeError("DNN library initialization failed"), DOUBTFUL),
        (DeviceError("a GPU was granted"), Outcome("failed", "DeviceError: a GPU was granted", gpu_fault=True)),
        (XlaRuntimeError("CUDA_ERROR_LAUNCH_FAILED"), BROKEN_GPU),
        (XlaRuntimeError("DNN library initialization failed: CUDA_ERROR_LAUNCH_FAILED"), BROKEN_DNN),
        (PartError("of another epoch"), Outcome("failed", "PartError: of another epoch")),
        (MisfitError("of another backbone"), Outcome("failed", "MisfitError: of another backbone")),
        # The store has mended itself: that is no fault of the trial, which a fresh process takes up again.
        (DamagedStoreError("pixels"), Outcome("killed", "DamagedStoreError: pixels")),
        # What all trials share is no fault of this one.
        (DataError("1.jpg is gone"), Outcome("unavailable", "DataError: 1.jpg is gone")),
        (WeightsError("w.h5: no such file"), Outcome("unavailable", "WeightsError: w.h5: no such file")),
        (CheckpointError("torn"), Outcome("unavailable", "CheckpointError: torn")),
        (OSError(errno.EIO, "bad block"), Outcome("unavailable", "OSError: [Errno 5] bad block")),
        (OSError(errno.ESTALE, "stale"), Outcome("unavailable", "OSError: [Errno 116] stale")),
        (OSError(errno.ENOMEM, "no memory"), Outcome("failed", "OSError: [Errno 12] no memory")),
        (
            caused(ConfigError("p.yaml cannot be read"), OSError(errno.EACCES, "closed")),
            Outcome("unavailable", "ConfigError: p.yaml cannot be read"),
        ),
    ],
)
def test_an_error_has_a_meaning_for_the_search(error: Exception, outcome: Outcome) -> None:
    assert outcome_of(error) == outcome


@pytest.mark.parametrize(
    ("share", "micro_batch", "accumulates", "used"),
    [
        (None, [2], False, None),
        (0.5, [2], False, 0.5),
        (2.0, [], False, 2.0),
        (2.0, [None], False, 2.0),
        (2.0, [None, 8], False, 1.0),
        (2.0, [None, 8], True, 2.0),
    ],
)
def test_batches_in_parts_use_one_gpu_where_gradients_cannot_be_accumulated(
    monkeypatch: pytest.MonkeyPatch, share, micro_batch, accumulates, used
) -> None:
    driver, child_end = Pipe(duplex=False)
    monkeypatch.setattr(child, "can_accumulate", lambda: accumulates)
    segment = replace(SEGMENT, gpu_share=share, micro_batch=micro_batch)
    assert _usable_gpus(segment, Outbox(child_end)) == used
    notice = told(driver)
    assert (notice is not None) == (used != share)
    if notice is not None:
        assert notice.text.startswith("trial 3: batches in parts train on one of its 2 GPUs, because TensorFlow's")


@pytest.fixture
def place(tmp_path: Path) -> tuple[StudyFolder, Segment, Outbox, Connection]:
    """A study with two checkpoints of trial 3, and a segment that resumes from the second."""
    study = StudyFolder(tmp_path)
    study.trials.mkdir()
    for epoch in (1, 2):
        position = Position(epoch=epoch, log_losses=(1.0,) * epoch).to_json()
        save_state(study.trial(3) / f"attempt-0/epoch-{epoch:04d}.npz", {}, {"position": position})
    segment = replace(SEGMENT, study=str(tmp_path), resume="attempt-0/epoch-0002.npz")
    driver, child = Pipe(duplex=False)
    return study, segment, Outbox(child), driver


def told(driver: Connection) -> Message | None:
    return driver.recv() if driver.poll() else None


def test_a_whole_checkpoint_is_gone_on_from_without_a_word(place) -> None:
    study, segment, outbox, driver = place
    assert _resumable(segment, study, outbox) == "attempt-0/epoch-0002.npz"
    assert told(driver) is None


def test_a_torn_one_falls_back_and_a_trial_without_any_starts_again(place, capfd) -> None:
    study, segment, outbox, driver = place
    folder = study.trial(3) / "attempt-0"
    (folder / "epoch-0002.npz").write_bytes(b"PK")
    assert _resumable(segment, study, outbox) == "attempt-0/epoch-0001.npz"
    notice = told(driver)
    assert notice is not None
    assert notice.level == logging.WARNING
    assert notice.text.startswith(f"trial 3: {folder / 'epoch-0002.npz'}: not a complete checkpoint")
    assert notice.text.endswith(": resumes from attempt-0/epoch-0001.npz")
    assert notice.text in capfd.readouterr().out, "in the trial's own output too"
    assert told(driver) == Fallback(epoch=1, stage=0)

    (folder / "epoch-0001.npz").unlink()
    assert _resumable(segment, study, outbox) is None
    notice = told(driver)
    assert notice is not None
    assert notice.text.endswith(": starts again")
    assert told(driver) == Fallback(epoch=0, stage=0)


def test_a_checkpoint_that_cannot_be_read_now_is_not_lost(place) -> None:
    study, segment, outbox, driver = place
    newest = study.trial(3) / "attempt-0" / "epoch-0002.npz"
    newest.unlink()
    newest.mkdir()  # as root reads whatever is closed to others: a name that cannot be read as a file
    with pytest.raises(IsADirectoryError):
        _resumable(segment, study, outbox)
    assert told(driver) is None, "no epoch is given up"


def test_a_trial_makes_no_study_where_there_is_none(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path / "results" / "away")
    with pytest.raises(FileNotFoundError):
        _redirect_output(study.root / study.output_name(3, 0))
    assert list(tmp_path.iterdir()) == []


def test_a_trial_whose_checkpoints_were_evicted_reports_a_fresh_start(place) -> None:
    study, segment, outbox, driver = place
    ended = climb([0.25, 0.5])
    trials = [replace(trial(number, TrialState.PAUSED, climb([0.5, 0.75])), is_baseline=False) for number in range(3)]
    trials.append(replace(trial(3, TrialState.PAUSED, ended), is_baseline=False))
    DiskRoom(study, CheckpointSettings(quota_gb=1e-9), Ladder(4)).keep_quota(trials)

    assert not list(study.trial(3).rglob("*.npz"))
    assert _resumable(segment, study, outbox) is None
    notice = told(driver)
    assert notice is not None
    assert notice.level == logging.WARNING
    assert notice.text.startswith(f"trial 3: {study.trial(3) / ended[-1].checkpoint}: ")
    assert notice.text.endswith(": starts again")
    assert "\n" not in notice.text
    assert told(driver) == Fallback(epoch=0, stage=0)
    assert told(driver) is None, "one line"
