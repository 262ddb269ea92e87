"""Segments on nodes that share a bucket and nothing else: two nodes are two stores on this machine."""

import logging
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from carcls.events import EpochReport
from search.experiment.node_store import study_on_node
from search.experiment.settings import StoreSettings
from search.study.bucket.bucket import Bucket
from search.study.bucket.node_copy import NodeCopy
from search.study.folder import StudyFolder
from search.worker import stored_trial
from search.worker.segment import Message, Notice, Outcome, Segment
from search.worker.stored_trial import begun_study, stored_messages
from tests.helpers.search.trial_builders import epoch_report

EPOCHS = 4


@dataclass
class Far:
    """The bucket, which is a folder."""

    root: Path

    @property
    def url(self) -> str:
        return f"file://{self.root}"

    def names(self) -> set[str]:
        trials = self.root / "trials"
        return {path.relative_to(trials).as_posix() for path in trials.rglob("*") if path.is_file()}

    def state(self, name: str) -> np.ndarray:
        with np.load(self.root / "trials" / "0003" / name) as file:
            return file["state"]


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Far:
    monkeypatch.setattr(stored_trial, "_PAUSE_S", 0.01)
    root = tmp_path / "far" / "cars"
    (root / "policies").mkdir(parents=True)
    (root / "split.csv").write_text("the split")
    (root / "policies" / "mine-0123456789abcdef.yaml").write_text("a policy")
    return Far(root)


def segment_on(node: str, far: Far, *, attempt: int = 0, resume: str | None = None) -> Segment:
    store = {"root": str(far.root.parents[1] / node)}
    return Segment(far.url, 3, attempt, {}, resume, 0, "", 0, store, 1, None, True, wait_minutes=5)


def on(segment: Segment) -> StudyFolder:
    """The folder that a node makes for the study."""
    return StudyFolder(study_on_node(segment.study, StoreSettings.model_validate(segment.store)))


@dataclass
class Training:
    """A training whose state after an epoch depends on all epochs before."""

    seen: list[set[str]] = field(default_factory=list)
    """Files in the trial's folder when each segment began."""
    during: Callable[[Segment, Callable[[], None], int], None] = lambda *_: None
    """Called within each epoch."""

    def __call__(self, segment: Segment, often: Callable[[], None]) -> Generator[Message, None, None]:
        folder = StudyFolder(Path(segment.study)).trial(segment.number)
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        self.seen.append(found)
        state, epoch = np.zeros(3), 0
        if segment.resume is not None:
            with np.load(folder / segment.resume) as file:
                state, epoch = file["state"], int(file["epoch"])
        own = folder / f"attempt-{segment.attempt}"
        for made in (folder, own):  # no others, as a real training
            made.mkdir(exist_ok=True)
        for number in range(epoch + 1, EPOCHS + 1):
            self.during(segment, often, number)
            state = state * 1.5 + np.arange(3) + number
            report = replace(
                epoch_report(number, ended=number == EPOCHS),
                checkpoint=f"attempt-{segment.attempt}/epoch-{number:04d}.npz",
                best_weights=f"attempt-{segment.attempt}/best-{number:04d}.npz",
            )
            for name in (report.checkpoint, report.best_weights):
                np.savez(folder / name, state=state, epoch=number)
            (own / "output.log").write_text(f"epoch {number}")
            yield report
        yield Outcome("ended")


def epochs(messages: Iterator[Message], count: int) -> list[EpochReport]:
    """The next epochs; the caller has not acknowledged the last one."""
    found = []
    while len(found) < count:
        message = next(messages)
        if isinstance(message, EpochReport):
            found.append(message)
    return found


def test_a_checkpoint_is_in_the_bucket_before_its_epoch_is_reported(far: Far) -> None:
    segment = segment_on("a", far)
    for message in stored_messages(segment, Training()):
        if isinstance(message, EpochReport):
            assert {f"0003/{message.checkpoint}", f"0003/{message.best_weights}"} <= far.names()
            here = on(segment).trial(3)
            assert far.state(message.checkpoint).tobytes() == np.load(here / message.checkpoint)["state"].tobytes()
    assert message == Outcome("ended")
    assert (far.root / "trials" / "0003" / "attempt-0" / "output.log").read_text() == f"epoch {EPOCHS}"
    assert not on(segment).trial(3).exists(), "the node keeps nothing of a trial that may continue elsewhere"


def test_a_node_keeps_the_last_two_epochs_while_it_trains(far: Far) -> None:
    segment = segment_on("a", far)
    messages = stored_messages(segment, Training())
    epochs(messages, 4)
    here = {path.name for path in on(segment).trial(3).glob("attempt-0/*.npz")}
    assert here == {f"{kind}-{epoch:04d}.npz" for kind in ("epoch", "best") for epoch in (2, 3, 4)}
    messages.close()


def test_a_trial_that_moves_to_another_node_ends_with_equal_arrays(far: Far, tmp_path: Path) -> None:
    undisturbed = Far(shutil.copytree(far.root, tmp_path / "undisturbed" / "cars"))
    list(stored_messages(segment_on("c", undisturbed), Training()))

    training = Training()
    messages = stored_messages(segment_on("a", far), training)
    last = epochs(messages, 2)[-1]
    messages.close()
    shutil.rmtree(tmp_path / "a")
    found = list(stored_messages(segment_on("b", far, attempt=1, resume=last.checkpoint), training))
    assert [message.epoch for message in found if isinstance(message, EpochReport)] == [3, 4]
    assert training.seen == [set(), {f"attempt-0/{kind}-000{n}.npz" for kind in ("epoch", "best") for n in (1, 2)}]
    whole, moved = f"attempt-0/epoch-{EPOCHS:04d}.npz", f"attempt-1/epoch-{EPOCHS:04d}.npz"
    assert far.state(moved).tobytes() == undisturbed.state(whole).tobytes()


def test_what_the_study_has_comes_to_the_node_and_is_renewed(far: Far) -> None:
    segment = segment_on("a", far)
    list(stored_messages(segment, Training()))
    assert on(segment).split.read_text() == "the split"
    assert (on(segment).policies / "mine-0123456789abcdef.yaml").read_text() == "a policy"
    (far.root / "split.csv").write_text("the spliT")
    list(stored_messages(replace(segment, attempt=1), Training()))
    assert on(segment).split.read_text() == "the spliT"


def test_a_torn_upload_is_stored_again(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    torn, put = [], Bucket.put

    def tear(self: Bucket, name: str, content: bytes | Path) -> None:
        if name.endswith("epoch-0002.npz") and not torn:
            assert isinstance(content, Path)
            torn.append(name)
            put(self, name, content.read_bytes()[:-7])
        else:
            put(self, name, content)

    monkeypatch.setattr(Bucket, "put", tear)
    found = list(stored_messages(segment_on("a", far), Training()))
    assert torn == ["trials/0003/attempt-0/epoch-0002.npz"]
    assert [message.epoch for message in found if isinstance(message, EpochReport)] == [1, 2, 3, 4]
    assert far.state("attempt-0/epoch-0002.npz").shape == (3,)
    (first, *_) = [message for message in found if isinstance(message, Notice)]
    assert "epoch-0002.npz: stored" in first.text
    assert first.level == logging.WARNING


def test_a_bucket_that_is_away_is_waited_for_with_signs_of_life(far: Far, tmp_path: Path) -> None:
    aside = tmp_path / "aside"

    def pull(segment: Segment, often: Callable[[], None], number: int) -> None:
        if number == 2:
            far.root.rename(aside)
            far.root.write_text("a file in the way")

    messages = stored_messages(segment_on("a", far), Training(during=pull))
    assert epochs(messages, 1)[0].epoch == 1
    waiting = [next(messages) for _ in range(3)]
    assert [message.level for message in waiting if isinstance(message, Notice)] == [
        logging.WARNING,
        logging.DEBUG,
        logging.DEBUG,
    ]
    assert far.url in waiting[0].text  # type: ignore[union-attr]
    far.root.unlink()
    aside.rename(far.root)
    left = list(messages)
    assert "is back" in left[0].text  # type: ignore[union-attr]
    assert [message.epoch for message in left if isinstance(message, EpochReport)] == [2, 3, 4]
    assert left[-1] == Outcome("ended")


def test_an_epoch_that_cannot_be_stored_is_not_reported(far: Far) -> None:
    def pull(segment: Segment, often: Callable[[], None], number: int) -> None:
        if number == 2:
            shutil.rmtree(far.root)
            far.root.write_text("a file in the way")

    segment = replace(segment_on("a", far), wait_minutes=0.0005)
    *before, end = stored_messages(segment, Training(during=pull))
    assert [message.epoch for message in before if isinstance(message, EpochReport)] == [1]
    assert isinstance(end, Outcome)
    assert (end.kind, far.url in str(end.cause)) == ("unavailable", True)


def test_a_node_that_cannot_reach_the_bucket_is_unfit(far: Far) -> None:
    shutil.rmtree(far.root)
    far.root.write_text("a file in the way")
    training = Training()
    segment = replace(segment_on("a", far), wait_minutes=0.0005)
    *_, end = stored_messages(segment, training)
    assert isinstance(end, Outcome)
    assert end.kind == "unfit"
    assert far.url in str(end.cause)
    assert "credentials" in str(end.cause)
    assert training.seen == []


def test_a_bucket_that_is_gone_is_no_file_that_is_gone(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object storage answers `not found` for both."""
    put = Bucket.put

    def refuse(self: Bucket, name: str, content: bytes | Path) -> None:
        if "attempt-0" in name:
            raise FileNotFoundError(2, "no such bucket", self.url)
        put(self, name, content)

    monkeypatch.setattr(Bucket, "put", refuse)
    *before, end = stored_messages(replace(segment_on("a", far), wait_minutes=0.0), Training())
    assert not [message for message in before if isinstance(message, EpochReport)]
    assert isinstance(end, Outcome)
    assert (end.kind, "no such bucket" in str(end.cause)) == ("unavailable", True)


def test_a_study_without_a_split_is_named(far: Far) -> None:
    (far.root / "split.csv").unlink()
    *_, end = stored_messages(replace(segment_on("a", far), wait_minutes=0.0), Training())
    assert isinstance(end, Outcome)
    assert f"{far.url}: no split.csv is there" in str(end.cause)


def test_parts_of_an_epoch_are_stored_while_it_runs(far: Far) -> None:
    seen = []

    def save(segment: Segment, often: Callable[[], None], number: int) -> None:
        part = StudyFolder(Path(segment.study)).trial(3) / f"attempt-0/part-{number:04d}.npz"
        part.write_bytes(b"half an epoch")
        often()
        seen.append(f"0003/attempt-0/{part.name}" in far.names())

    list(stored_messages(segment_on("a", far), Training(during=save)))
    assert seen == [True] * EPOCHS


def test_a_name_that_leaves_the_folder_is_refused(far: Far, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "node")
    with pytest.raises(Exception, match="not a file of a study"):
        NodeCopy(Bucket(far.url), folder).bring("policies/../../x", next(iter(Bucket(far.url).files().values())))


def test_a_node_tries_to_write_before_it_is_believed(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = []
    put = Bucket.put

    def keep(self: Bucket, name: str, content: bytes | Path) -> None:
        stored.append(name)
        put(self, name, content)

    monkeypatch.setattr(Bucket, "put", keep)
    segment = segment_on("a", far)
    settings = StoreSettings.model_validate(segment.store)
    begun_study(far.url, settings)
    begun_study(far.url, settings)
    assert len(stored) == 1
    assert not list(far.root.glob(".node-*")), "it is deleted again"
