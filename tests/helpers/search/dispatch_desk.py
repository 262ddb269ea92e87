"""A dispatcher over a real study on disk, without Ray: simulated workers report their results at once."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from carcls.events import EpochReport, PhaseSeconds
from search.driver.study_dispatch import StudyDispatcher, WorkerSettings
from search.experiment.experiment import Experiment
from search.policy.records import TrialRecord, TrialState
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker.segment import Outcome, Segment
from tests.helpers.search.trial_builders import epoch_report
from tests.helpers.search.written_study import optuna_trials

CPU = WorkerSettings(threads=1, gpu_share=None, store={}, deterministic=True)
HEAD_EPOCHS = 2
FINALS = ("search.finalists={count: 1, seeds: 2}", "search.trials=3")
ACCURACIES = {0: 0.5, 1: 0.2, 2: 0.9, 3: 0.3}


@dataclass
class Listening:
    """All calls of a listener, in order."""

    heard: list[tuple[str, int]] = field(default_factory=list)
    on_epoch: Callable[[], None] = lambda: None
    """A hook that runs after an epoch was recorded."""

    def started(self, number: int) -> None:
        self.heard.append(("started", number))

    def reported(self, number: int, report: EpochReport) -> None:
        self.heard.append((f"epoch {report.epoch}", number))
        self.on_epoch()

    def fell_back(self, number: int) -> None:
        self.heard.append(("fell back", number))

    def ended(self, number: int) -> None:
        self.heard.append(("ended", number))


@dataclass
class Clock:
    """A clock that a test advances."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Desk:
    """A dispatcher and its collaborators."""

    experiment: Experiment
    study: Study
    folder: StudyFolder
    listening: Listening
    clock: Clock
    dispatcher: StudyDispatcher

    def state(self, number: int) -> TrialState:
        return self.study.record(number).state

    def take(self) -> Segment:
        segment = self.dispatcher.next_segment()
        assert isinstance(segment, Segment)
        return segment

    def printed(self, segment: Segment) -> Segment:
        """Runs a segment as a process would."""
        output = self.folder.root / self.folder.output_name(segment.number, segment.attempt)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("a traceback", encoding="utf-8")
        return segment

    def work(self, segment: Segment, *, accuracy: float = 0.5, train_s: float = 1.0) -> None:
        """Reports the segment from its checkpoint to its rung, epoch by epoch."""
        for stage in range(0 if segment.resume is None else 1, segment.stop_after_stage + 1):
            epochs = HEAD_EPOCHS if stage == 0 else 1
            for at in range(1, epochs + 1):
                self.epoch(segment.number, stage=stage, ended=at == epochs, accuracy=accuracy, train_s=train_s)
        self.dispatcher.segment_ended(segment.number, Outcome("ended"))

    def epoch(
        self, number: int, *, stage: int = 0, ended: bool = False, accuracy: float = 0.5, train_s: float = 1.0
    ) -> EpochReport:
        epoch = self.study.record(number).fidelity + 1
        report = replace(
            epoch_report(epoch, stage=stage, accuracy=accuracy, ended=ended),
            seconds=PhaseSeconds(train=train_s, validate=0.0, build=0.0),
        )
        for name in (report.checkpoint, report.best_weights):
            path = self.folder.trial(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"weights")
        self.dispatcher.report(number, report)
        return report


def whole(desk: Desk) -> tuple[tuple[TrialRecord, ...], list[dict[str, Any]]]:
    """The finished study: our records, and what Optuna sees."""
    desk.study.finish()
    desk.study.close()
    seen = [
        {"state": trial.state, "params": trial.params, "value": trial.value, "epochs": trial.intermediate_values}
        for trial in optuna_trials(desk.folder.root, "tiny")
    ]
    return Study.open(desk.folder.root, read_only=True).records(), seen


def finish(desk: Desk, accuracies: dict[int, float], *, train_s: float = 1.0) -> list[Segment]:
    """Runs all remaining segments; a trial without an accuracy gets 0.5."""
    segments = []
    while isinstance(segment := desk.dispatcher.next_segment(), Segment):
        segments.append(segment)
        desk.work(segment, accuracy=accuracies.get(segment.number, 0.5), train_s=train_s)
    return segments


class Server(Protocol):
    """A real server of the tests."""

    def kill(self) -> None: ...

    def start(self) -> None: ...


def finish_with_kills(desk: Desk, server: Server, *, killed_at: Collection[int], back_after_s: float) -> None:
    """`finish`, but the server is killed once so many epochs of the whole search are recorded, and comes back."""
    starts: list[threading.Timer] = []

    def disturb() -> None:
        if sum(record.fidelity for record in desk.study.records()) in killed_at:
            for start in starts:  # whose server answers already, so this driver may be ahead of it
                start.join()
            server.kill()
            starts.append(threading.Timer(back_after_s, server.start))
            starts[-1].start()

    desk.listening.on_epoch = disturb
    finish(desk, ACCURACIES)
    for start in starts:
        start.join()
    assert len(starts) == len(killed_at)


def continue_after_loss(desk: Desk, number: int) -> Segment:
    """Another driver resumes the trial that a lost one was training after its first epoch, and ends the search. Returns
    the trial's new segment."""
    assert desk.study.interrupt_running() == (number,)
    resumed = desk.take()
    assert (resumed.number, resumed.attempt) == (number, 1)
    desk.epoch(number, ended=True, accuracy=ACCURACIES[0])
    if resumed.stop_after_stage:
        desk.epoch(number, stage=1, ended=True, accuracy=ACCURACIES[0])
    desk.dispatcher.segment_ended(number, Outcome("ended"))
    finish(desk, ACCURACIES)
    return resumed


def assert_same_results(desk: Desk, undisturbed: tuple[tuple[TrialRecord, ...], list[dict[str, Any]]]) -> None:
    """The same parameters, reports and Optuna trials as `whole` gave; attempts may differ."""
    records, seen = whole(desk)
    assert seen == undisturbed[1]
    assert [record.params for record in records] == [record.params for record in undisturbed[0]]
    assert [record.reports for record in records] == [record.reports for record in undisturbed[0]]
