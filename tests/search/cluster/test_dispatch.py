"""The dispatcher over a real study on disk, played without Ray: whoever would train says at once what it reached."""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from carcls.events import EpochReport, PhaseSeconds
from search.cluster.dispatch import Dispatcher, WorkerSettings
from search.cluster.segment import Outcome, Segment
from search.experiment.changes import Change
from search.experiment.experiment import Experiment, load
from search.folder import StudyFolder
from search.policy.failures import FAILURES_IN_A_ROW, FIRST_FAILURES
from search.policy.finals import final_standing
from search.policy.policy import search_policy
from search.policy.records import TrialState
from search.study import Study
from tests.search.ran import timeless
from tests.search.tiny import EXPERIMENT, STAGES
from tests.search.trial_builders import epoch_report

CPU = WorkerSettings(threads=1, gpu_share=None, store={}, deterministic=True)
HEAD_EPOCHS = 2
FINALS = ("search.finalists={count: 1, seeds: 2}", "search.trials=3")
ACCURACIES = {0: 0.5, 1: 0.2, 2: 0.9, 3: 0.3}


@dataclass
class Listening:
    """All that a listener heard, in order."""

    heard: list[tuple[str, int]] = field(default_factory=list)

    def started(self, number: int) -> None:
        self.heard.append(("started", number))

    def reported(self, number: int, report: EpochReport) -> None:
        self.heard.append((f"epoch {report.epoch}", number))

    def fell_back(self, number: int) -> None:
        self.heard.append(("fell back", number))

    def ended(self, number: int) -> None:
        self.heard.append(("ended", number))


@dataclass
class Clock:
    """Hours pass when a test says so."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Desk:
    """A dispatcher and all that is around it."""

    experiment: Experiment
    study: Study
    folder: StudyFolder
    listening: Listening
    clock: Clock
    dispatcher: Dispatcher

    def state(self, number: int) -> TrialState:
        return self.study.record(number).state

    def take(self) -> Segment:
        segment = self.dispatcher.next_segment()
        assert isinstance(segment, Segment)
        return segment

    def printed(self, segment: Segment) -> Segment:
        """As a process does that came to run it."""
        output = self.folder.root / self.folder.output_name(segment.number, segment.attempt)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("a traceback", encoding="utf-8")
        return segment

    def work(self, segment: Segment, *, accuracy: float = 0.5, train_s: float = 1.0) -> None:
        """The segment from its checkpoint to its rung, one epoch after the other."""
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


@pytest.fixture
def open_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(EXPERIMENT, encoding="utf-8")
    folder = StudyFolder(tmp_path / "study")
    opened: list[Study] = []

    def desk(*overrides: str, worker: WorkerSettings = CPU) -> Desk:
        experiment = load(Path("tiny.yaml"), overrides)
        for study in opened:
            study.close()
        if folder.log.exists():
            opened.append(Study.open(folder.root))
        else:
            folder.trials.mkdir(parents=True)
            opened.append(Study.create(folder.root, "tiny"))
        listening, clock, study = Listening(), Clock(), opened[-1]
        dispatcher = Dispatcher(
            experiment,
            study,
            folder,
            policy=search_policy(experiment),
            worker=worker,
            listeners=(listening,),
            clock_s=clock,
        )
        return Desk(experiment, study, folder, listening, clock, dispatcher)

    yield desk
    for study in opened:
        study.close()


def test_a_segment_carries_all_that_its_worker_needs(open_desk) -> None:
    worker = WorkerSettings(threads=3, gpu_share=0.5, store={"root": "/store"}, deterministic=False)
    desk = open_desk("search.seed=7", "search.deadline.epoch_factor=4", worker=worker)

    segment = desk.take()

    assert segment == Segment(
        study=str(desk.folder.root),
        number=0,
        attempt=0,
        config=desk.experiment.bind(desk.experiment.baseline).model_dump(mode="json"),
        resume=None,
        stop_after_stage=0,
        data_root=str(desk.experiment.data.root),
        view_seed=7,
        store={"root": "/store"},
        threads=3,
        gpu_share=0.5,
        deterministic=False,
        deadline={"epoch_factor": 4.0, "shortest_minutes": 10.0, "first_epoch_minutes": 120.0},
    )
    assert desk.state(0) is TrialState.RUNNING, "recorded before anybody starts"
    assert desk.study.record(0).params == desk.experiment.baseline
    assert desk.study.record(0).is_baseline


def test_a_whole_search_follows_the_ladder(open_desk) -> None:
    desk = open_desk()
    order = []
    while isinstance(segment := desk.dispatcher.next_segment(), Segment):
        order.append((segment.number, segment.stop_after_stage, segment.resume))
        desk.work(segment, accuracy=ACCURACIES[segment.number])

    assert segment == "finished"
    assert desk.dispatcher.finished
    first_rung = f"attempt-0/epoch-{HEAD_EPOCHS:04d}.npz"
    assert order == [
        (0, 0, None),
        (0, 1, first_rung),  # the baseline always goes to its end
        (1, 0, None),
        (2, 0, None),
        (2, 1, first_rung),  # the best of three goes on before a fourth is asked for
        (3, 0, None),
        (3, 1, first_rung),  # of those left paused, the best is carried to its end
    ]
    assert [record.state for record in desk.study.records()] == [
        TrialState.COMPLETE,
        TrialState.PAUSED,
        TrialState.COMPLETE,
        TrialState.COMPLETE,
    ]
    assert all(record.stage_count == STAGES for record in desk.study.records())


def test_listeners_hear_each_epoch_once_and_after_the_study(open_desk) -> None:
    desk = open_desk()
    segment = desk.take()
    first = desk.epoch(0)
    desk.dispatcher.report(0, first)  # a worker that was resumed repeats what is recorded already
    desk.dispatcher.report(0, replace(first, val_accuracy=0.99))
    desk.epoch(0, ended=True)
    desk.dispatcher.segment_ended(segment.number, Outcome("ended"))

    assert desk.listening.heard == [("started", 0), ("epoch 1", 0), ("epoch 2", 0), ("ended", 0)]
    assert desk.study.record(0).reports[0] == first


def test_checkpoints_that_nothing_needs_go(open_desk) -> None:
    desk = open_desk("train.stages.head.epochs=4")
    desk.take()
    for accuracy in (0.5, 0.4, 0.3):
        desk.epoch(0, accuracy=accuracy)
    kept = {path.name for path in (desk.folder.trial(0) / "attempt-0").iterdir()}
    assert kept == {"epoch-0002.npz", "epoch-0003.npz", "best-0002.npz", "best-0003.npz"}


def test_wait_while_the_baseline_runs_and_no_trial_is_left(open_desk) -> None:
    desk = open_desk("search.trials=1")
    segment = desk.take()
    assert desk.dispatcher.next_segment() == "wait"
    assert not desk.dispatcher.finished
    desk.work(segment)
    desk.work(desk.take())
    assert desk.dispatcher.next_segment() == "finished"
    assert len(desk.study.records()) == 1


def test_hours_end_new_trials_and_promotions_but_not_the_baseline(open_desk) -> None:
    desk = open_desk("search.budget.hours=2")
    desk.work(desk.take())
    desk.work(desk.take())
    desk.work(desk.take())
    assert (desk.state(0), desk.state(1)) == (TrialState.COMPLETE, TrialState.PAUSED)

    desk.clock.now_s += 2 * 3600
    carried = desk.take()

    assert (carried.number, carried.stop_after_stage) == (1, 1)
    assert desk.study.budget_exhausted
    desk.work(carried)
    assert desk.dispatcher.next_segment() == "finished"
    assert len(desk.study.records()) == 2
    assert desk.study.elapsed_s == pytest.approx(2 * 3600)


LONG_HEADS = "train.stages.head.epochs=6"


def cut_off(desk: Desk, number: int) -> None:
    """As the adapters do it once an epoch is recorded."""
    assert desk.dispatcher.is_out_of_time(number)
    desk.dispatcher.segment_ended(number, Outcome("out_of_time"))


def whole_baseline(desk: Desk) -> None:
    for stage, epochs in enumerate((6, 1)):
        assert desk.take().number == 0
        for at in range(1, epochs + 1):
            desk.epoch(0, stage=stage, ended=at == epochs)
            assert not desk.dispatcher.is_out_of_time(0), "the baseline goes to its end whatever that takes"
        desk.dispatcher.segment_ended(0, Outcome("ended"))


def test_hours_that_are_used_up_end_what_runs_with_its_epoch_and_the_best_is_carried(open_desk) -> None:
    hours = "search.budget.hours=2"
    desk = open_desk(LONG_HEADS, hours)
    whole_baseline(desk)
    first, second = desk.take(), desk.take()
    desk.epoch(first.number, accuracy=0.6)
    assert not desk.dispatcher.is_out_of_time(first.number)
    desk.clock.now_s += 2 * 3600
    desk.epoch(first.number, accuracy=0.7)
    cut_off(desk, first.number)
    desk.epoch(second.number, accuracy=0.9)
    cut_off(desk, second.number)
    assert [desk.state(number) for number in (1, 2)] == [TrialState.WAITING] * 2
    assert [desk.study.record(number).deaths for number in (1, 2)] == [(), ()], "nobody is to blame"

    carried = desk.take()
    assert (carried.number, carried.stop_after_stage, carried.resume) == (2, 1, "attempt-0/epoch-0001.npz")
    desk.epoch(2, accuracy=0.9)
    assert not desk.dispatcher.is_out_of_time(2), "carried to its end"
    desk.study.interrupt_running()  # the driver is killed
    desk = open_desk(LONG_HEADS, hours)
    assert desk.take().number == 2, "and taken there by the next"
    desk.dispatcher.segment_ended(2, Outcome("failed", "odd"))
    assert desk.take().number == 1, "the next best in its place"
    desk.dispatcher.segment_ended(1, Outcome("failed", "odd"))
    assert desk.dispatcher.next_segment() == "finished"


def test_what_the_hours_cut_off_goes_on_from_its_checkpoint_with_more_of_them(open_desk) -> None:
    desk = open_desk(LONG_HEADS, "search.budget.hours=2")
    whole_baseline(desk)
    paused, cut = desk.take(), desk.take()
    for at in range(1, 7):
        desk.epoch(paused.number, ended=at == 6, accuracy=0.8)
    assert not desk.dispatcher.is_out_of_time(paused.number)
    desk.dispatcher.segment_ended(paused.number, Outcome("ended"))
    desk.clock.now_s += 2 * 3600
    desk.epoch(cut.number, accuracy=0.3)
    cut_off(desk, cut.number)
    carried = desk.take()
    assert (carried.number, carried.stop_after_stage) == (1, 1)
    desk.epoch(1, stage=1, ended=True, accuracy=0.8)
    desk.dispatcher.segment_ended(1, Outcome("ended"))
    assert desk.dispatcher.next_segment() == "finished"
    desk.study.finish()
    assert desk.study.is_finished
    assert [desk.state(number) for number in range(3)] == [TrialState.COMPLETE] * 2 + [TrialState.WAITING]

    desk.study.add_changes([Change("search.budget.hours", 2.0, 9.0)])
    more = open_desk(LONG_HEADS, "search.budget.hours=9")
    again = more.take()
    assert (again.number, again.attempt, again.resume) == (2, 1, "attempt-0/epoch-0001.npz")


def test_repeats_are_cut_off_by_the_hours_themselves_and_the_search_leaves_them_theirs(open_desk) -> None:
    desk = open_desk(*FINALS, "search.budget.hours=6")
    desk.work(desk.take(), train_s=1200.0)
    desk.work(desk.take(), train_s=1200.0)  # the baseline, in an hour; its repeats and another's are due: four hours
    trial = desk.take()
    desk.epoch(trial.number, accuracy=0.1)
    assert not desk.dispatcher.is_out_of_time(trial.number)
    desk.clock.now_s += 3 * 3600  # half of the hours is what finals get at most
    desk.epoch(trial.number, accuracy=0.1, ended=True)
    assert not desk.dispatcher.is_out_of_time(trial.number), "it is at its rung"
    desk.dispatcher.segment_ended(trial.number, Outcome("ended"))
    desk.work(desk.take(), accuracy=0.1)  # carried
    repeat = desk.take()
    assert desk.study.record(repeat.number).repeats == 0
    desk.epoch(repeat.number)
    assert not desk.dispatcher.is_out_of_time(repeat.number)
    desk.clock.now_s += 3 * 3600
    desk.epoch(repeat.number, ended=True)
    cut_off(desk, repeat.number)
    assert desk.dispatcher.next_segment() == "finished"
    desk.study.finish()
    assert desk.state(repeat.number) is TrialState.WAITING
    assert final_standing(desk.study.records()) == (), "half a repeat says nothing"


def test_gpu_hours_let_what_runs_go_on_to_its_rung(open_desk) -> None:
    desk = open_desk(LONG_HEADS, "search.budget.gpu_hours=1", worker=replace(CPU, gpu_share=1.0))
    whole_baseline(desk)
    segment = desk.take()
    desk.epoch(segment.number, train_s=7200.0)
    assert not desk.dispatcher.is_out_of_time(segment.number)


def test_an_exhausted_budget_still_carries_the_baseline_to_its_end(open_desk) -> None:
    desk = open_desk("search.budget.hours=1")
    desk.clock.now_s += 3601
    for _ in range(STAGES):
        desk.work(desk.take())
    assert desk.dispatcher.next_segment() == "finished"
    assert [record.state for record in desk.study.records()] == [TrialState.COMPLETE]


def test_the_clock_goes_on_over_runs_of_the_driver(open_desk) -> None:
    desk = open_desk("search.budget.hours=2")
    desk.work(desk.take())
    desk.clock.now_s += 1.5 * 3600
    desk.work(desk.take())
    assert desk.study.elapsed_s == pytest.approx(1.5 * 3600)

    again = open_desk("search.budget.hours=2")
    assert again.take().number == 1
    again.epoch(1)
    again.clock.now_s += 0.5 * 3600
    assert again.dispatcher.elapsed_s() == pytest.approx(2 * 3600)
    again.epoch(1, ended=True)
    again.dispatcher.segment_ended(1, Outcome("ended"))
    assert again.take().number == 1, "carried to its end, for no third trial starts"
    assert again.study.budget_exhausted


def test_exhaustion_stays_recorded_whatever_the_clock_of_a_later_run_says(open_desk) -> None:
    desk = open_desk("search.budget.hours=1")
    desk.work(desk.take())
    desk.work(desk.take())
    desk.clock.now_s += 3601
    assert desk.dispatcher.next_segment() == "finished"

    again = open_desk()
    assert again.study.budget_exhausted
    assert again.dispatcher.next_segment() == "finished"
    assert len(again.study.records()) == 1


@pytest.mark.parametrize(("gpu_share", "trials"), [(1.0, 1), (0.5, 3), (None, 4)])
def test_gpu_hours_count_shares_as_shares_and_cpus_not_at_all(open_desk, gpu_share: float | None, trials: int) -> None:
    desk = open_desk("search.budget.gpu_hours=1", worker=replace(CPU, gpu_share=gpu_share))
    while isinstance(segment := desk.dispatcher.next_segment(), Segment):
        desk.work(segment, train_s=1200.0)
    # A trial of three epochs takes an hour; the baseline is granted its whole.
    assert len(desk.study.records()) == trials
    assert desk.study.budget_exhausted is (gpu_share is not None)


def test_gpu_hours_that_were_spent_stay_spent_whatever_a_later_run_gives_to_a_trial(open_desk) -> None:
    desk = open_desk("search.budget.gpu_hours=3", worker=replace(CPU, gpu_share=0.25))
    desk.work(desk.take(), train_s=3600.0)  # two epochs
    whole = open_desk("search.budget.gpu_hours=3", worker=replace(CPU, gpu_share=1.0))
    whole.work(whole.take(), train_s=1800.0)  # one
    assert not whole.study.budget_exhausted
    assert whole.study.gpu_meter.used_s(2 * 3600 + 1800) == 3600

    none = open_desk("search.budget.gpu_hours=1", worker=CPU)
    assert none.dispatcher.next_segment() == "finished"
    assert none.study.budget_exhausted


def test_gpu_hours_of_epochs_whose_checkpoints_are_lost_stay_spent(open_desk) -> None:
    desk = open_desk("search.budget.gpu_hours=3", worker=replace(CPU, gpu_share=0.5))
    desk.take()
    for _ in range(2):
        desk.epoch(0, train_s=3600.0)
    desk.dispatcher.segment_ended(0, Outcome("killed", "lost"))
    desk.take()
    desk.dispatcher.fell_back(0, 1)
    again = open_desk("search.budget.gpu_hours=3", worker=replace(CPU, gpu_share=0.5))
    assert again.study.gpu_meter.used_s(3600) == 3600, "two hours of half a GPU, though one is known to the trial"


def test_infeasible_is_told_apart_from_failed_and_the_search_goes_on(open_desk) -> None:
    desk = open_desk("search.trials=3")
    desk.work(desk.take())
    desk.work(desk.take())
    desk.dispatcher.segment_ended(desk.take().number, Outcome("infeasible", "DivergedError: NaN in epoch 1"))
    desk.dispatcher.segment_ended(desk.printed(desk.take()).number, Outcome("failed", "DataError: 1.jpg is gone"))

    infeasible, failed = desk.study.record(1), desk.study.record(2)
    assert (infeasible.state, infeasible.infeasible) == (TrialState.FAIL, True)
    assert infeasible.cause == "DivergedError: NaN in epoch 1"
    assert (failed.state, failed.infeasible) == (TrialState.FAIL, False)
    assert failed.cause == "DataError: 1.jpg is gone"
    assert failed.traceback == "trials/0002/attempt-0/output.log"
    assert desk.dispatcher.next_segment() == "finished"


def test_a_killed_trial_is_handed_out_again_from_its_last_checkpoint(open_desk) -> None:
    desk = open_desk()
    desk.take()
    report = desk.epoch(0)
    desk.dispatcher.segment_ended(0, Outcome("killed", "the trial's process died with exit code -9"))

    record = desk.study.record(0)
    assert (record.state, record.deaths) == (TrialState.WAITING, (1,))
    assert record.cause == "the trial's process died with exit code -9"
    again = desk.take()
    assert (again.number, again.attempt, again.stop_after_stage) == (0, 1, 0)
    assert again.resume == report.checkpoint


def test_a_stage_that_ends_earlier_when_it_is_trained_again_ends_there(open_desk) -> None:
    """Its checkpoints went by the quota while it was paused, and early stopping does not decide as it did."""
    desk = open_desk("train.stages.head.epochs=4", "search.trials=1")
    desk.take()
    for ended in (False, False, True):
        desk.epoch(0, ended=ended)
    desk.dispatcher.segment_ended(0, Outcome("ended"))
    assert desk.take().stop_after_stage == 1
    desk.dispatcher.fell_back(0, 0)
    desk.epoch(0, stage=0, ended=True)
    desk.epoch(0, stage=1, ended=True)
    desk.dispatcher.segment_ended(0, Outcome("ended"))
    assert desk.state(0) is TrialState.COMPLETE, "both stages ended within the epochs that the first one had before"
    assert [report.stage for report in desk.study.record(0).reports] == [0, 1]
    assert desk.dispatcher.next_segment() == "finished"


def test_a_rung_that_comes_earlier_than_the_epochs_that_were_lost_is_a_rung(open_desk) -> None:
    desk = open_desk("train.stages.head.epochs=8", "search.trials=1")
    desk.take()
    for _ in range(4):
        desk.epoch(0)
    desk.dispatcher.segment_ended(0, Outcome("killed", "lost"))
    desk.take()
    desk.dispatcher.fell_back(0, 1)
    assert desk.listening.heard[-1] == ("fell back", 0)
    desk.epoch(0, ended=True)
    before = desk.study.records()
    again = open_desk("train.stages.head.epochs=8", "search.trials=1")
    assert again.study.records() == before
    again.dispatcher.segment_ended(0, Outcome("ended"))
    assert (again.state(0), again.study.record(0).fidelity) == (TrialState.PAUSED, 2)
    assert again.take().resume == before[0].reports[1].checkpoint


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_segment_that_ends_before_its_rung_has_failed(open_desk, epochs: int) -> None:
    desk = open_desk("search.trials=1")
    desk.printed(desk.take())
    for _ in range(epochs):
        desk.epoch(0)
    desk.dispatcher.segment_ended(0, Outcome("ended"))
    record = desk.study.record(0)
    assert (record.state, record.infeasible) == (TrialState.FAIL, False)
    assert record.cause == f"its segment ended after epoch {epochs}, before the end of stage 0, to which it was sent"
    assert record.traceback == "trials/0000/attempt-0/output.log"


@pytest.mark.parametrize("restarts", [0, 2])
def test_a_trial_that_dies_again_and_again_has_failed(open_desk, restarts: int) -> None:
    desk = open_desk("search.trials=1", f"search.max_restarts={restarts}")
    attempts = []
    while isinstance(segment := desk.dispatcher.next_segment(), Segment):
        attempts.append(segment.attempt)
        desk.dispatcher.segment_ended(0, Outcome("killed", "lost"))

    assert attempts == list(range(restarts + 1))
    record = desk.study.record(0)
    assert (record.state, record.cause, record.infeasible) == (TrialState.FAIL, "lost", False)


def test_a_python_error_is_no_death_and_gets_no_second_try(open_desk) -> None:
    desk = open_desk("search.trials=1", "search.max_restarts=5")
    desk.dispatcher.segment_ended(desk.take().number, Outcome("failed", "ValueError: odd"))
    assert (desk.state(0), desk.study.record(0).deaths) == (TrialState.FAIL, ())


def test_a_trial_that_gets_on_between_deaths_is_not_to_blame(open_desk) -> None:
    desk = open_desk("train.stages.head.epochs=8", "search.trials=1", "search.max_restarts=2")
    for _ in range(4):
        segment = desk.take()
        desk.epoch(0)
        desk.dispatcher.segment_ended(segment.number, Outcome("killed", "lost"))
    assert desk.state(0) is TrialState.WAITING


def fail(desk: Desk, cause: str) -> None:
    desk.dispatcher.segment_ended(desk.printed(desk.take()).number, Outcome("failed", cause))


def test_the_same_error_in_the_first_trials_ends_the_search_early_with_the_error(open_desk) -> None:
    desk = open_desk("search.trials=30")
    for number in range(FIRST_FAILURES):
        assert desk.dispatcher.stopping is None
        fail(desk, f"DataError: cannot read train/0/{number}.jpg")

    assert desk.dispatcher.next_segment() == "finished"
    assert not desk.dispatcher.finished, "there is something left to do, once the error is mended"
    assert desk.dispatcher.stopping == (
        "the first 3 trials failed with the same error: DataError: cannot read train/0/2.jpg;"
        f" see {desk.folder.root / 'trials/0002/attempt-0/output.log'}. Mend it first"
    )


def test_what_an_early_stop_failed_is_trained_once_the_error_is_mended(open_desk, tmp_path: Path) -> None:
    undisturbed = open_desk()
    finish(undisturbed, ACCURACIES)
    expected = undisturbed.study.records()
    undisturbed.study.close()
    shutil.rmtree(undisturbed.folder.root)

    desk = open_desk()
    running = [desk.take() for _ in range(FIRST_FAILURES + 1)]
    for segment in running:  # the last one fails while the search ends
        desk.dispatcher.segment_ended(segment.number, Outcome("failed", f"DataError: cannot read {segment.number}.jpg"))
    assert desk.dispatcher.next_segment() == "finished"
    waiting = desk.study.records()
    assert [record.state for record in waiting] == [TrialState.WAITING] * len(running)
    assert [record.cause for record in waiting] == [f"DataError: cannot read {n}.jpg" for n in range(len(running))]

    mended = open_desk()
    assert mended.study.records() == waiting
    finish(mended, ACCURACIES)
    found = mended.study.records()
    assert found[0].is_baseline
    assert found[0].state is TrialState.COMPLETE
    assert timeless(found, uninterrupted=False) == timeless(expected, uninterrupted=False)


def test_an_error_that_was_not_mended_ends_the_search_again(open_desk) -> None:
    for _ in range(2):
        desk = open_desk("search.trials=30")
        for number in range(FIRST_FAILURES):
            assert desk.dispatcher.stopping is None
            assert desk.take().number == number, "no further trial is spent on it"
            desk.dispatcher.segment_ended(number, Outcome("failed", "DataError: no photos"))
        assert "the first 3 trials failed with the same error" in (desk.dispatcher.stopping or "")


def test_ten_failures_in_a_row_end_a_search_that_went_well_before(open_desk) -> None:
    desk = open_desk("search.trials=30")
    desk.work(desk.take())
    desk.work(desk.take())
    for number in range(FAILURES_IN_A_ROW):
        assert desk.dispatcher.stopping is None
        fail(desk, f"OSError: disk {number}")
    assert (desk.dispatcher.stopping or "").startswith("10 trials in a row failed for one reason: OSError: disk 9; see")


def test_what_ten_in_a_row_failed_goes_on_once_their_reason_is_mended(open_desk) -> None:
    trials = "search.trials=14"
    desk = open_desk(trials)
    desk.work(desk.take())
    desk.work(desk.take())
    fail(desk, "KeyError: other")
    begun = desk.take()
    checkpoint = desk.epoch(begun.number, accuracy=0.6).checkpoint
    running = [begun, *(desk.take() for _ in range(FAILURES_IN_A_ROW + 1))]
    for segment in running[:FAILURES_IN_A_ROW]:
        desk.dispatcher.segment_ended(segment.number, Outcome("failed", f"OSError: disk {segment.number}"))
    assert (desk.dispatcher.stopping or "").startswith(
        "10 trials in a row failed for one reason: OSError: disk 11; see"
    )
    *_, well, late = running  # they end while the search does
    desk.work(well, accuracy=0.1)
    desk.dispatcher.segment_ended(late.number, Outcome("failed", "OSError: disk 13"))
    assert desk.dispatcher.next_segment() == "finished"
    assert not desk.dispatcher.finished
    mend = [*range(2, 12), 13]
    stopped = desk.study.records()
    assert [record.number for record in stopped if record.state is TrialState.WAITING] == mend
    assert (desk.state(1), desk.state(12)) == (TrialState.FAIL, TrialState.PAUSED)

    mended = open_desk(trials)
    assert mended.study.records() == stopped
    first = mended.take()
    assert (first.number, first.resume) == (begun.number, checkpoint), "what it had trained is kept"
    mended.epoch(first.number, ended=True)
    mended.dispatcher.segment_ended(first.number, Outcome("ended"))
    again = [first.number, *(segment.number for segment in finish(mended, {}) if segment.attempt == 1)]
    assert again[: len(mend)] == mend
    assert [record.number for record in mended.study.records() if record.state is TrialState.FAIL] == [1]
    assert len(mended.study.records()) == 14, "no further trial is spent on it"


def test_what_goes_well_or_fails_otherwise_ends_a_row_and_the_infeasible_does_not(open_desk) -> None:
    desk = open_desk("search.trials=60", "search.scheduler.reduction_factor=50")
    desk.work(desk.take())
    desk.work(desk.take())
    for between in (lambda: desk.work(desk.take()), lambda: fail(desk, "KeyError: other")):
        for _ in range(FAILURES_IN_A_ROW - 1):
            fail(desk, "OSError: disk")
        between()
    assert desk.dispatcher.stopping is None
    for _ in range(FAILURES_IN_A_ROW - 1):
        fail(desk, "OSError: disk")
    desk.dispatcher.segment_ended(desk.take().number, Outcome("infeasible", "DivergedError: NaN"))
    assert desk.dispatcher.stopping is None
    fail(desk, "OSError: disk")
    assert desk.dispatcher.stopping is not None


def test_a_row_goes_on_in_the_next_driver_and_begins_anew_once_it_was_said(open_desk) -> None:
    desk = open_desk("search.trials=60")
    desk.work(desk.take())
    desk.work(desk.take())
    for _ in range(FAILURES_IN_A_ROW - 1):
        fail(desk, "OSError: disk")
    again = open_desk("search.trials=60")
    fail(again, "OSError: disk")
    assert again.dispatcher.stopping is not None
    resumed = open_desk("search.trials=60")
    for _ in range(FAILURES_IN_A_ROW - 1):
        fail(resumed, "OSError: disk")
    assert resumed.dispatcher.stopping is None


def test_no_segment_starts_once_the_search_was_told_to_stop(open_desk) -> None:
    desk = open_desk()
    segment = desk.take()
    desk.dispatcher.stop("Ctrl-C")
    desk.dispatcher.stop("another reason")
    assert desk.dispatcher.next_segment() == "finished"
    desk.work(segment)
    assert (desk.state(0), desk.dispatcher.stopping) == (TrialState.PAUSED, "Ctrl-C")
    assert not desk.dispatcher.finished


def test_a_new_driver_decides_as_the_old_one_would_have(open_desk) -> None:
    desk = open_desk()
    for _ in range(3):
        desk.work(desk.take())
    desk.take()
    desk.study.interrupt_running()

    again = open_desk()
    resumed = again.take()

    assert (resumed.number, resumed.attempt, resumed.resume) == (2, 1, None)
    assert again.study.record(2).deaths == (), "an interrupted run is nobody's death"


def finish(desk: Desk, accuracies: dict[int, float], *, train_s: float = 1.0) -> list[Segment]:
    """All segments that are left, each worked off; a trial without an accuracy gets 0.5."""
    segments = []
    while isinstance(segment := desk.dispatcher.next_segment(), Segment):
        segments.append(segment)
        desk.work(segment, accuracy=accuracies.get(segment.number, 0.5), train_s=train_s)
    return segments


def test_the_finals_train_the_same_configurations_whole_with_other_seeds(open_desk) -> None:
    desk = open_desk(*FINALS, "train.seed=5")
    segments = finish(desk, {1: 0.2, 2: 0.9})

    records = desk.study.records()
    assert [(record.number, record.repeats) for record in records[3:]] == [(3, 0), (4, 2), (5, 0), (6, 2)]
    assert all(record.state is TrialState.COMPLETE and record.attempts == 1 for record in records[3:])
    assert [(segment.number, segment.stop_after_stage) for segment in segments[-4:]] == [(n, 1) for n in (3, 4, 5, 6)]
    for number, finalist, seed in ((3, 0, 6), (4, 2, 6), (5, 0, 7), (6, 2, 7)):
        own = desk.study.config(finalist)
        assert desk.study.config(number) == own.model_copy(update={"seed": seed})
        assert own.seed == 5
        assert records[number].params == records[finalist].params
        assert not records[number].is_baseline


def test_repeats_are_not_counted_as_trials(open_desk) -> None:
    finish(open_desk(*FINALS), {1: 0.2, 2: 0.9})
    more = open_desk(*FINALS[:1], "search.trials=4")
    segments = finish(more, {7: 0.95})
    assert segments[0].number == 7
    assert [record.repeats for record in more.study.records()[7:]] == [None, 7, 7]


def test_the_largest_seed_has_repeats_too(open_desk) -> None:
    desk = open_desk("search.finalists={count: 1, seeds: 1}", "search.trials=1", f"train.seed={2**31 - 1}")
    finish(desk, {})
    assert desk.study.config(1).seed == 0


@pytest.mark.parametrize(
    ("hours", "proposed", "repeats"),
    [
        # A whole trial takes an hour, a head two thirds of one. With two whole ones the search takes three, the finals
        # four, of which at most half of the budget is set aside; what has begun is ended.
        (8.0, 3, 4),
        (6.0, 3, 3),
        (3.0, 2, 1),
        (2.0, 1, 1),
        (1.0, 1, 0),
    ],
)
def test_the_search_leaves_its_finals_what_they_will_take(open_desk, hours: float, proposed: int, repeats: int) -> None:
    worker = replace(CPU, gpu_share=1.0)
    desk = open_desk(*FINALS, f"search.budget.gpu_hours={hours}", worker=worker)
    finish(desk, {1: 0.2, 2: 0.9}, train_s=1200.0)
    records = desk.study.records()
    assert (sum(r.repeats is None for r in records), sum(r.repeats is not None for r in records)) == (proposed, repeats)
    assert desk.study.finals_exhausted is (hours < 8.0)
