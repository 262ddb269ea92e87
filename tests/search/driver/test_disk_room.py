"""The dispatcher on a full disk, and the checkpoint quota: a real study, no Ray, a simulated disk."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from search.driver.disk_room import DiskRoom
from search.driver.study_dispatch import StudyDispatcher, WorkerSettings
from search.experiment.experiment import load
from search.policy.policy import search_policy
from search.policy.records import TrialState
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker.segment import Outcome, Segment
from tests.helpers.search.tiny import EXPERIMENT
from tests.helpers.search.trial_builders import epoch_report

CPU = WorkerSettings(threads=1, gpu_share=None, store={}, deterministic=True)
MB = 10**6
HEAD_EPOCHS = 2


@dataclass
class Place:
    """A dispatcher and its study, on a disk and a clock set by the test."""

    study: Study
    folder: StudyFolder
    dispatcher: StudyDispatcher
    free_mb: float = 1000.0
    now_s: float = 0.0

    def take(self) -> Segment:
        segment = self.dispatcher.next_segment()
        assert isinstance(segment, Segment)
        return segment

    def epoch(
        self, segment: Segment, epoch: int, *, stage: int = 0, ended: bool = False, accuracy: float = 0.5
    ) -> None:
        attempt = f"attempt-{segment.attempt}"
        report = replace(
            epoch_report(epoch, stage=stage, accuracy=accuracy, ended=ended),
            checkpoint=f"{attempt}/epoch-{epoch:04d}.npz",
            best_weights=f"{attempt}/best-{epoch:04d}.npz",
        )
        for name in (report.checkpoint, report.best_weights):
            path = self.folder.trial(segment.number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(1000))
        self.dispatcher.report(segment.number, report)

    def head(self, segment: Segment, *, accuracy: float = 0.5) -> None:
        for epoch in range(1, HEAD_EPOCHS + 1):
            self.epoch(segment, epoch, ended=epoch == HEAD_EPOCHS, accuracy=accuracy)
        self.dispatcher.segment_ended(segment.number, Outcome("ended"))

    def top(self, segment: Segment, *, accuracy: float = 0.6) -> None:
        self.epoch(segment, HEAD_EPOCHS + 1, stage=1, ended=True, accuracy=accuracy)
        self.dispatcher.segment_ended(segment.number, Outcome("ended"))

    def files(self, number: int) -> set[str]:
        folder = self.folder.trial(number)
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*.npz")}


@pytest.fixture
def open_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(EXPERIMENT, encoding="utf-8")
    folder = StudyFolder(tmp_path / "study")
    folder.trials.mkdir(parents=True)
    caplog.set_level(logging.INFO, "search.driver.disk_room")
    opened: list[Study] = []

    def place(*overrides: str) -> Place:
        experiment = load(Path("tiny.yaml"), overrides)
        study = Study.create(folder.root, "tiny")
        opened.append(study)
        policy = search_policy(experiment)
        made: list[Place] = []
        room = DiskRoom(
            folder,
            experiment.search.checkpoints,
            policy.ladder,
            clock_s=lambda: made[0].now_s if made else 0.0,
            free=lambda path: round(made[0].free_mb * MB) if path == folder.root else 0,
        )
        dispatcher = StudyDispatcher(experiment, study, folder, policy=policy, worker=CPU, room=room)
        made.append(Place(study, folder, dispatcher))
        return made[0]

    yield place
    for study in opened:
        study.close()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "search.driver.disk_room"]


def test_a_full_disk_pauses_the_search_until_there_is_room(open_place, caplog) -> None:
    place = open_place()
    place.head(place.take())
    place.free_mb = 12.0
    before = place.study.records()

    assert [place.dispatcher.next_segment() for _ in range(3)] == ["wait"] * 3

    assert place.study.records() == before, "no trial was proposed or started"
    (line,) = told(caplog)
    assert line.startswith(f"{place.folder.root}: 12.0 MB free on its disk, 16.0 MB needed for another segment")
    assert "search.checkpoints.quota_gb" in line
    assert "after 60 minutes the search stops and can be resumed" in line

    place.free_mb = 100.0
    assert place.take().number == 0
    assert told(caplog)[1:] == [f"{place.folder.root}: there is room again, the search continues"]


def test_a_disk_that_stays_full_stops_the_run(open_place) -> None:
    place = open_place("search.checkpoints.full_disk_minutes=5")
    place.free_mb = 0.0
    assert place.dispatcher.next_segment() == "wait"
    place.now_s = 299.0
    assert place.dispatcher.next_segment() == "wait"
    place.now_s = 300.0
    assert place.dispatcher.next_segment() == "finished"
    assert not place.dispatcher.finished
    assert place.dispatcher.stopping == f"the disk of {place.folder.root} has been full for 5 minutes"
    assert place.study.records() == ()


def test_a_finished_search_ends_on_a_full_disk_too(open_place) -> None:
    place = open_place("search.trials=1")
    place.head(place.take())
    place.top(place.take())
    place.free_mb = 0.0
    assert place.dispatcher.next_segment() == "finished"
    assert place.dispatcher.finished


def test_a_segment_without_room_waits_and_resumes(open_place, caplog) -> None:
    place = open_place()
    segment = place.take()
    place.epoch(segment, 1)
    place.free_mb = 40.0
    place.dispatcher.segment_ended(0, Outcome("disk_full", "DiskFullError: no room"))

    record = place.study.record(0)
    assert (record.state, record.deaths, record.fidelity) == (TrialState.WAITING, (), 1)
    assert record.cause == "DiskFullError: no room"
    assert "trial 0 found no room on a disk and waits: DiskFullError: no room" in caplog.text
    assert place.dispatcher.next_segment() == "wait", "40 MB were not enough"
    place.free_mb = 60.0
    again = place.take()
    assert (again.number, again.attempt, again.resume) == (0, 1, "attempt-0/epoch-0001.npz")


def test_a_segment_needs_room_for_the_largest_checkpoints(open_place) -> None:
    place = open_place()
    segment = place.take()
    large = place.folder.trial(0) / "attempt-0" / "epoch-0001.npz"
    place.epoch(segment, 1)
    assert large.stat().st_size == 1000
    place.epoch(segment, 2, ended=True)
    place.dispatcher.segment_ended(0, Outcome("ended"))
    place.free_mb = 16.002
    assert place.dispatcher.next_segment() == "wait"
    place.free_mb = 16.003
    place.take()


def test_least_useful_checkpoints_beyond_the_quota_are_deleted(open_place) -> None:
    place = open_place("search.checkpoints.quota_gb=7e-6")  # seven files
    place.head(place.take(), accuracy=0.5)
    place.top(place.take())  # the baseline, to its end
    place.head(place.take(), accuracy=0.3)
    assert place.files(1), "a trial that may be run to its end stays"
    place.head(place.take(), accuracy=0.4)
    assert place.study.record(1).state is TrialState.PAUSED
    assert sum(len(place.files(number)) for number in range(3)) <= 7
    assert place.files(0) == {"attempt-1/best-0003.npz"}, "the best trial's weights stay, its states are deleted first"
    assert len(place.files(2)) == 4, "all files of the best paused trial stay"
    again = place.take()
    assert again.number == 3, "a fourth trial is proposed as usual"


def test_an_epoch_trained_again_leaves_no_extra_files(open_place) -> None:
    place = open_place("train.stages.head.epochs=6")
    segment = place.take()
    for epoch in range(1, 6):
        place.epoch(segment, epoch, accuracy=0.1 * epoch)
    place.dispatcher.segment_ended(0, Outcome("killed", "lost"))
    recorded = place.study.record(0).reports
    for path in place.folder.trial(0).rglob("*.npz"):
        path.unlink()
    again = place.take()
    for epoch in range(1, 5):
        place.epoch(again, epoch, accuracy=0.9)

    assert place.study.record(0).reports == recorded
    newest = {f"attempt-1/{kind}-{epoch:04d}.npz" for kind in ("epoch", "best") for epoch in (3, 4)}
    assert place.files(0) == newest
    place.dispatcher.segment_ended(0, Outcome("killed", "lost"))
    third = place.take()
    assert place.files(0) == newest, "the next attempt continues from there"
    assert third.resume == "attempt-0/epoch-0005.npz"
    place.epoch(third, 5)
    place.epoch(third, 6, ended=True)
    place.dispatcher.segment_ended(0, Outcome("ended"))
    assert place.files(0) == {"attempt-2/epoch-0006.npz", "attempt-2/best-0006.npz"}
