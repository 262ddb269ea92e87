"""A search whose workers share nothing but a bucket with the driver, without Ray: a node is a store on this machine."""

import shutil
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carcls.events import EpochReport
from search.driver.study_dispatch import WorkerSettings
from search.experiment.node_store import keep_pointer
from search.study.bucket import driver_lock
from search.study.bucket.places import url_for_workers
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker.segment import LOST, Message, Outcome, Segment
from search.worker.stored_trial import stored_messages
from tests.helpers.search.dispatch_desk import ACCURACIES, CPU, FINALS, HEAD_EPOCHS, Desk
from tests.helpers.search.trial_builders import epoch_report


def train(segment: Segment, often: Callable[[], None]) -> Generator[Message, None, None]:
    """A training whose state after an epoch depends on all epochs before."""
    del often
    folder = StudyFolder(Path(segment.study)).trial(segment.number)
    state, epoch = np.full(3, float(segment.number)), 0
    if segment.resume is not None:
        with np.load(folder / segment.resume) as file:
            state, epoch = file["state"], int(file["epoch"])
    own = f"attempt-{segment.attempt}"
    for made in (folder, folder / own):  # no others, as a real training
        made.mkdir(exist_ok=True)
    (folder / own / "output.log").write_text("a traceback")
    for stage in range(segment.first_stage, segment.stop_after_stage + 1):
        last = HEAD_EPOCHS if stage == 0 else epoch + 1
        while epoch < last:
            epoch += 1
            state = state * 1.5 + epoch
            names = {"checkpoint": f"{own}/epoch-{epoch:04d}.npz", "best_weights": f"{own}/best-{epoch:04d}.npz"}
            for name in names.values():
                np.savez(folder / name, state=state, epoch=epoch)
            accuracy = ACCURACIES.get(segment.number, 0.5)
            yield replace(epoch_report(epoch, stage=stage, accuracy=accuracy, ended=epoch == last), **names)
    yield Outcome("ended")


def on(node: str, segment: Segment) -> Generator[Message, None, None]:
    """The messages of a segment on a node, whose store is named after it."""
    return stored_messages(replace(segment, store={"root": str(Path.cwd() / node)}), train)


def search(desk: Desk, messages_of: Callable[[Segment], Generator[Message, None, None]]) -> None:
    while isinstance(segment := desk.dispatcher.next_segment(), Segment):
        finish(desk, segment, messages_of(segment))


def finish(desk: Desk, segment: Segment, messages: Generator[Message, None, None]) -> None:
    for message in messages:
        if isinstance(message, EpochReport):
            desk.dispatcher.report(segment.number, message)
        elif isinstance(message, Outcome):
            desk.dispatcher.segment_ended(segment.number, message)


def trained(desk: Desk) -> list[tuple[object, ...]]:
    """Parameters, values and last state of each trial."""
    return [
        (
            record.params,
            record.state,
            [replace(report, checkpoint="", best_weights="") for report in record.reports],
            np.load(desk.folder.trial(record.number) / record.reports[-1].checkpoint)["state"].tobytes(),
        )
        for record in desk.study.records()
    ]


def checkpoints(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob("*/attempt-*/*.npz")}


@pytest.fixture
def undisturbed(open_desk: Callable[..., Desk]):
    desk = open_desk(*FINALS)
    search(desk, lambda segment: train(segment, lambda: None))
    desk.study.finish()
    found = trained(desk)
    desk.study.close()
    shutil.rmtree(desk.folder.root)
    return found


@pytest.fixture
def desk(open_desk: Callable[..., Desk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The driver of a study in a bucket, which is a folder."""
    monkeypatch.setattr(driver_lock, "_SETTLE_S", 0.01)
    far = tmp_path / "far" / "study"
    far.mkdir(parents=True)
    (far / "experiment.yaml").write_text("name: tiny")
    (far / "split.csv").write_text("the split")
    keep_pointer(tmp_path, f"file://{far.parent}")
    url = url_for_workers(tmp_path / "study")
    assert url == f"file://{far}"
    return open_desk(*FINALS, worker=replace(CPU, study_url=url))


def test_trials_move_between_nodes_and_one_is_lost(undisturbed: list[object], desk: Desk, tmp_path: Path) -> None:
    far = tmp_path / "far" / "study" / "trials"
    first = desk.take()
    assert first.study == f"file://{far.parent}"
    messages = on("a", first)
    desk.dispatcher.report(first.number, next(messages))  # type: ignore[arg-type]
    lost = next(messages)
    assert isinstance(lost, EpochReport)
    assert (far / "0000" / lost.checkpoint).is_file(), "stored, and the node is gone before it could tell"
    messages.close()
    shutil.rmtree(tmp_path / "a")
    desk.dispatcher.segment_ended(first.number, LOST)

    turns = iter("bc" * 50)
    search(desk, lambda segment: on(next(turns), segment))
    desk.study.finish()
    assert trained(desk) == undisturbed
    desk.study.close()
    assert not (far / "0000" / lost.checkpoint).exists(), "a checkpoint without a recorded epoch does not stay"
    assert checkpoints(far) == checkpoints(desk.folder.trials), "what is not needed any more is deleted in the bucket"
    assert (desk.folder.trial(0) / "attempt-1" / "output.log").read_text() == "a traceback"
    assert not list(tmp_path.glob("[bc]/workers/*/trials/*")), "nodes keep nothing"


def test_an_epoch_is_recorded_only_once_its_files_are_here(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = desk.take()
    report = next(on("a", segment))
    assert isinstance(report, EpochReport)
    seen = []
    add = Study.report

    def record(self: Study, number: int, new: EpochReport) -> bool:
        seen.append((desk.folder.trial(number) / new.checkpoint).is_file())
        return add(self, number, new)

    monkeypatch.setattr(Study, "report", record)
    desk.dispatcher.report(segment.number, report)
    assert seen == [True]


def test_a_study_in_a_shared_folder_asks_no_bucket(open_desk: Callable[..., Desk], tmp_path: Path) -> None:
    desk = open_desk(*FINALS, worker=CPU)
    assert url_for_workers(desk.folder.root) == ""
    assert desk.take().study == str(tmp_path / "study")
    assert WorkerSettings(1, None, {}, deterministic=True).study_url == ""
