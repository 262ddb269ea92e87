"""Outages of files that every trial needs: the dispatcher waits, probes with one trial, and continues."""

import errno
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carcls.scoring.evidence import Evidence
from search.policy.records import TrialState
from search.worker.segment import Outcome, Segment
from tests.helpers.search.dispatch_desk import ACCURACIES, HEAD_EPOCHS, Desk, finish
from tests.helpers.search.ran import timeless
from tests.helpers.search.trial_builders import epoch_report

AWAY = Outcome("unavailable", "DataError: split.csv: cannot be read")


@pytest.fixture
def desk(open_desk, caplog: pytest.LogCaptureFixture) -> Desk:
    """Two concurrent trials with all photos in place."""
    caplog.set_level(logging.INFO, "search.driver.outage")
    made = open_desk("search.trials=4", "search.checkpoints.full_disk_minutes=5")
    made.experiment.data.root.mkdir()
    return made


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "search.driver.outage"]


def away(desk: Desk, segment: Segment) -> None:
    desk.dispatcher.segment_ended(segment.number, AWAY)


def test_an_outage_ends_when_one_trial_makes_progress(desk: Desk, caplog) -> None:
    first, second = desk.take(), desk.take()
    away(desk, first)
    away(desk, second)
    assert [desk.state(number) for number in (0, 1)] == [TrialState.WAITING] * 2
    assert [desk.study.record(number).deaths for number in (0, 1)] == [(), ()]
    assert [desk.dispatcher.next_segment() for _ in range(3)] == ["wait"] * 3
    assert len(desk.study.records()) == 2, "no trial was proposed"

    desk.clock.now_s += 3
    probe = desk.take()
    assert (probe.number, probe.attempt) == (0, 1)
    assert desk.dispatcher.next_segment() == "wait", "the others follow once this one has made progress"
    desk.epoch(0)
    assert desk.take().number == 1
    assert told(caplog) == [
        "trial 0 waits: DataError: split.csv: cannot be read: no segment starts until that is fixed; after 5 minutes"
        " the search stops and can be resumed",
        f"{desk.folder.root}: the missing files are back, the search continues",
    ]


def test_no_probe_starts_while_the_driver_finds_files_missing(desk: Desk) -> None:
    away(desk, desk.take())
    desk.experiment.data.root.rmdir()
    for _ in range(10):
        desk.clock.now_s += 10
        assert desk.dispatcher.next_segment() == "wait"
    assert desk.study.record(0).attempts == 1
    desk.experiment.data.root.mkdir()
    desk.clock.now_s += 3
    assert desk.take().attempt == 1


def test_the_pause_between_probes_grows_to_a_minute(desk: Desk) -> None:
    away(desk, desk.take())
    pauses, since_s = [], desk.clock.now_s
    while desk.dispatcher.stopping is None and len(pauses) < 7:
        desk.clock.now_s += 1
        if isinstance(segment := desk.dispatcher.next_segment(), Segment):
            pauses.append(desk.clock.now_s - since_s)
            since_s = desk.clock.now_s
            away(desk, segment)
    assert pauses == [2, 4, 8, 16, 32, 60, 60]


def test_a_long_outage_stops_the_search_without_failures(desk: Desk) -> None:
    desk.work(desk.take())
    away(desk, desk.take())
    desk.experiment.data.root.rmdir()
    desk.clock.now_s += 299
    assert desk.dispatcher.next_segment() == "wait"
    desk.clock.now_s += 2
    assert desk.dispatcher.next_segment() == "finished"
    assert not desk.dispatcher.finished
    assert desk.dispatcher.stopping is not None
    assert str(desk.experiment.data.root) in desk.dispatcher.stopping
    assert desk.dispatcher.stopping.endswith(", for 5 minutes")
    assert TrialState.FAIL not in {record.state for record in desk.study.records()}


@pytest.mark.parametrize(
    "end", [Outcome("killed", "lost"), Outcome("disk_full", "no room"), Outcome("infeasible", "NaN")]
)
def test_a_probe_without_progress_is_followed_by_another(desk: Desk, end: Outcome) -> None:
    away(desk, desk.take())
    desk.clock.now_s += 3
    desk.dispatcher.segment_ended(desk.take().number, end)
    assert desk.dispatcher.next_segment() == "wait"
    desk.clock.now_s += 30
    assert isinstance(desk.dispatcher.next_segment(), Segment)


def test_trials_running_meanwhile_do_not_end_an_outage(desk: Desk) -> None:
    runs, meets = desk.take(), desk.take()
    away(desk, meets)
    desk.epoch(runs.number)
    assert desk.dispatcher.next_segment() == "wait"


def test_outages_do_not_change_decisions(open_desk, tmp_path: Path) -> None:
    undisturbed = open_desk("search.trials=4")
    finish(undisturbed, ACCURACIES)
    expected = timeless(undisturbed.study.records(), uninterrupted=False)
    undisturbed.study.close()
    undisturbed.folder.root.rename(tmp_path / "undisturbed")
    desk = open_desk("search.trials=4")
    desk.experiment.data.root.mkdir()
    while isinstance(segment := desk.dispatcher.next_segment(), Segment):
        away(desk, segment)
        desk.clock.now_s += 61
        segment = desk.take()
        desk.work(segment, accuracy=ACCURACIES[segment.number])
    assert desk.dispatcher.finished
    assert timeless(desk.study.records(), uninterrupted=False) == expected


def test_the_driver_waits_for_a_missing_study_folder(desk: Desk) -> None:
    desk.work(desk.take())
    elsewhere = desk.folder.root.rename(desk.folder.root.with_name("elsewhere"))
    looks: list[bool] = []

    def put_back_at_the_second_look() -> None:
        looks.append(desk.folder.root.exists())
        if len(looks) == 2:
            elsewhere.rename(desk.folder.root)

    desk.study.retry_files(5, put_back_at_the_second_look)
    desk.work(desk.take())
    assert looks == [False, False], "it waited, and did not create the folder again"
    assert desk.study.record(0).fidelity == HEAD_EPOCHS + 1


def test_evidence_of_an_epoch_waits_for_the_folder_too(desk: Desk) -> None:
    segment = desk.take()
    desk.epoch(segment.number)
    elsewhere = desk.folder.root.rename(desk.folder.root.with_name("elsewhere"))
    desk.study.retry_files(5, lambda: elsewhere.exists() and elsewhere.rename(desk.folder.root))
    evidence = Evidence(np.full((2, 3), 1 / 3, np.float16))
    desk.dispatcher.report(segment.number, replace(epoch_report(2), evidence=evidence))
    assert desk.study.record(0).fidelity == 2
    assert desk.folder.probabilities(0, 2).is_file()


def test_checkpoints_that_cannot_be_deleted_yet_are_deleted_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = desk.take()
    desk.epoch(segment.number)
    real = os.unlink

    def refused(path: object, **at: int) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    monkeypatch.setattr(os, "unlink", refused)
    for _ in range(HEAD_EPOCHS + 1):
        desk.epoch(segment.number)
    assert desk.study.record(0).fidelity == HEAD_EPOCHS + 2, "the trained epochs are recorded"
    monkeypatch.setattr(os, "unlink", real)
    desk.epoch(segment.number)
    assert sorted(path.name for path in desk.folder.trial(0).rglob("epoch-*.npz")) == [
        f"epoch-{epoch:04d}.npz" for epoch in (HEAD_EPOCHS + 2, HEAD_EPOCHS + 3)
    ]


def test_a_worker_gets_the_studys_digest_of_the_split(desk: Desk) -> None:
    from search.study.checked_files import keep_files
    from search.study.fingerprint import Fingerprint

    for path in (desk.folder.split, desk.folder.quarantine):
        path.write_bytes(path.name.encode())
    keep_files(desk.study, desk.folder)
    segment = desk.take()
    assert segment.split_digest == Fingerprint.of(b"split.csv").whole
    assert segment.to_json()["split_digest"] == segment.split_digest
