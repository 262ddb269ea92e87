"""Errors, deaths and failure streaks: what the dispatcher retries, and when it stops."""

import shutil
from pathlib import Path

import pytest

from carcls.training.part_names import part_name
from search.policy.failures import FAILURES_IN_A_ROW, FIRST_FAILURES
from search.policy.records import TrialState
from search.worker.segment import Outcome, Segment
from tests.helpers.search.dispatch_desk import ACCURACIES, Desk, finish
from tests.helpers.search.ran import timeless


def test_infeasible_and_failed_trials_do_not_stop_the_search(open_desk) -> None:
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


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_segment_that_ends_before_its_rung_fails(open_desk, epochs: int) -> None:
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
def test_a_trial_that_keeps_dying_fails(open_desk, restarts: int) -> None:
    desk = open_desk("search.trials=1", f"search.max_restarts={restarts}")
    attempts = []
    while isinstance(segment := desk.dispatcher.next_segment(), Segment):
        attempts.append(segment.attempt)
        desk.dispatcher.segment_ended(0, Outcome("killed", "lost"))

    assert attempts == list(range(restarts + 1))
    record = desk.study.record(0)
    assert (record.state, record.cause, record.infeasible) == (TrialState.FAIL, "lost", False)


def test_a_python_error_is_not_retried(open_desk) -> None:
    desk = open_desk("search.trials=1", "search.max_restarts=5")
    desk.dispatcher.segment_ended(desk.take().number, Outcome("failed", "ValueError: odd"))
    assert (desk.state(0), desk.study.record(0).deaths) == (TrialState.FAIL, ())


def test_a_cuda_library_that_fails_is_tried_once_more_in_a_new_process(open_desk) -> None:
    desk = open_desk("search.trials=1", "search.max_restarts=5")
    doubtful = Outcome("doubtful", "XlaRuntimeError: DNN library initialization failed")
    desk.dispatcher.segment_ended(desk.take().number, doubtful)
    assert desk.state(0) is TrialState.WAITING
    desk.dispatcher.segment_ended(desk.take().number, doubtful)
    record = desk.study.record(0)
    assert (record.state, record.infeasible, record.cause) == (TrialState.FAIL, False, doubtful.cause)


def test_deaths_with_progress_between_them_do_not_count(open_desk) -> None:
    desk = open_desk("train.stages.head.epochs=8", "search.trials=1", "search.max_restarts=2")
    for _ in range(4):
        segment = desk.take()
        desk.epoch(0)
        desk.dispatcher.segment_ended(segment.number, Outcome("killed", "lost"))
    assert desk.state(0) is TrialState.WAITING


def fail(desk: Desk, cause: str) -> None:
    desk.dispatcher.segment_ended(desk.printed(desk.take()).number, Outcome("failed", cause))


def test_the_same_error_in_the_first_trials_stops_the_search(open_desk) -> None:
    desk = open_desk("search.trials=30")
    for number in range(FIRST_FAILURES):
        assert desk.dispatcher.stopping is None
        fail(desk, f"DataError: cannot read train/0/{number}.jpg")

    assert desk.dispatcher.next_segment() == "finished"
    assert not desk.dispatcher.finished, "the search can continue once the error is fixed"
    assert desk.dispatcher.stopping == (
        "the first 3 trials failed with the same error: DataError: cannot read train/0/2.jpg;"
        f" see {desk.folder.root / 'trials/0002/attempt-0/output.log'}. Fix it first"
    )


def test_trials_failed_by_an_early_stop_are_retried_on_resume(open_desk, tmp_path: Path) -> None:
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

    resumed = open_desk()
    assert resumed.study.records() == waiting
    finish(resumed, ACCURACIES)
    found = resumed.study.records()
    assert found[0].is_baseline
    assert found[0].state is TrialState.COMPLETE
    assert timeless(found, uninterrupted=False) == timeless(expected, uninterrupted=False)


def test_an_error_that_persists_stops_the_search_again(open_desk) -> None:
    for _ in range(2):
        desk = open_desk("search.trials=30")
        for number in range(FIRST_FAILURES):
            assert desk.dispatcher.stopping is None
            assert desk.take().number == number, "no further trial is spent on it"
            desk.dispatcher.segment_ended(number, Outcome("failed", "DataError: no photos"))
        assert "the first 3 trials failed with the same error" in (desk.dispatcher.stopping or "")


def test_ten_failures_in_a_row_stop_the_search(open_desk) -> None:
    desk = open_desk("search.trials=30")
    desk.work(desk.take())
    desk.work(desk.take())
    for number in range(FAILURES_IN_A_ROW):
        assert desk.dispatcher.stopping is None
        fail(desk, f"OSError: disk {number}")
    assert (desk.dispatcher.stopping or "").startswith("10 trials in a row failed for one reason: OSError: disk 9; see")


def test_trials_of_a_streak_are_retried_on_resume(open_desk) -> None:
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
    retried = [*range(2, 12), 13]
    stopped = desk.study.records()
    assert [record.number for record in stopped if record.state is TrialState.WAITING] == retried
    assert (desk.state(1), desk.state(12)) == (TrialState.FAIL, TrialState.PAUSED)

    resumed = open_desk(trials)
    assert resumed.study.records() == stopped
    first = resumed.take()
    assert (first.number, first.resume) == (begun.number, checkpoint), "its trained epochs are kept"
    resumed.epoch(first.number, ended=True)
    resumed.dispatcher.segment_ended(first.number, Outcome("ended"))
    again = [first.number, *(segment.number for segment in finish(resumed, {}) if segment.attempt == 1)]
    assert again[: len(retried)] == retried
    assert [record.number for record in resumed.study.records() if record.state is TrialState.FAIL] == [1]
    assert len(resumed.study.records()) == 14, "no further trial is spent on it"


def test_successes_and_other_failures_end_a_streak(open_desk) -> None:
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


def test_a_streak_outlives_its_driver_until_it_stops_the_search(open_desk) -> None:
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


def test_a_framework_that_does_not_load_stops_the_search(open_desk) -> None:
    desk = open_desk("search.trials=3", "search.max_restarts=5")
    desk.dispatcher.segment_ended(desk.take().number, Outcome("unable", "Keras cannot be loaded"))
    record = desk.study.record(0)
    assert (record.state, record.deaths, record.traceback) == (TrialState.WAITING, (), None)
    assert desk.dispatcher.stopping == "no trial can be trained here: Keras cannot be loaded"
    assert desk.dispatcher.next_segment() == "finished"
    assert not desk.dispatcher.finished, "it continues on resume"


def test_a_death_after_a_saved_part_of_an_epoch_uses_up_no_restart(open_desk) -> None:
    desk = open_desk("search.trials=1", "search.max_restarts=0")
    for attempt in (0, 1):
        segment = desk.take()
        part = desk.folder.trial(0) / part_name(attempt, 1)
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"state")
        desk.dispatcher.segment_ended(segment.number, Outcome("killed", "gone"))
        assert (desk.state(0), desk.study.record(0).deaths) == (TrialState.WAITING, ())
        assert part.is_file(), "the next attempt continues from it"
    desk.take()  # it saves nothing before it dies
    desk.dispatcher.segment_ended(0, Outcome("killed", "gone"))
    assert desk.state(0) is TrialState.FAIL
    assert not list(desk.folder.trial(0).rglob("part-*.npz"))
