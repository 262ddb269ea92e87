"""Faults of GPUs: a GPU that fails twice in a row gets no more trials, and its trials fail no one."""

import pytest

from search.policy.records import TrialState
from search.study.gpu_notes import failing_gpu_lines, failing_gpus
from search.study.study import Study
from search.worker.segment import Outcome
from tests.helpers.search.dispatch_desk import ACCURACIES, Desk, finish

GOOD, BAD = "GPU 0 of here", "GPU 1 of here"
FELL_OFF = Outcome("killed", "the trial's process died: GPU has fallen off the bus", gpu_fault=True)


def on(desk: Desk, gpus: str) -> int:
    """Starts a segment on a GPU; returns its trial."""
    number = desk.take().number
    desk.dispatcher.granted(number, gpus)
    return number


@pytest.fixture
def desk(open_desk) -> Desk:
    """A search with a trial that waits and has trained on the good GPU."""
    made = open_desk("search.trials=4", "search.max_restarts=0")
    number = on(made, GOOD)
    made.epoch(number)
    return made


def test_a_gpu_that_fails_twice_in_a_row_is_left_out_and_named(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    numbers = []
    for _ in range(2):
        numbers.append(on(desk, BAD))
        assert desk.dispatcher.excluded_gpus() == ()
        desk.dispatcher.segment_ended(numbers[-1], FELL_OFF)
        record = desk.study.record(numbers[-1])
        assert (record.state, record.deaths) == (TrialState.WAITING, ()), "no death, although none is allowed"
        assert record.cause == f"{BAD}: {FELL_OFF.cause}"
    assert desk.dispatcher.excluded_gpus() == (BAD,)
    assert f"{BAD} gets no more trials in this run: {FELL_OFF.cause}" in caplog.text
    assert f"trial {numbers[0]} continues on another GPU" in caplog.text
    assert desk.take().avoid_gpus == [BAD]
    again = failing_gpus(Study.open(desk.folder.root, read_only=True))
    assert failing_gpu_lines(again) == (f"{BAD}: left out, 2 faults in a row: {FELL_OFF.cause}",)


def test_an_epoch_between_two_faults_clears_its_name(desk: Desk) -> None:
    desk.dispatcher.segment_ended(on(desk, BAD), FELL_OFF)
    number = on(desk, BAD)
    desk.epoch(number)
    desk.dispatcher.segment_ended(number, FELL_OFF)
    assert desk.dispatcher.excluded_gpus() == ()
    assert [gpu.faults for gpu in failing_gpus(desk.study)] == [1]


def test_without_another_gpu_a_fault_is_a_death_of_the_trial(open_desk) -> None:
    desk = open_desk("search.trials=2", "search.max_restarts=1")
    for _ in range(2):
        desk.dispatcher.segment_ended(on(desk, BAD), FELL_OFF)
    assert desk.state(0) is TrialState.FAIL
    assert desk.dispatcher.excluded_gpus() == ()


def test_a_trial_that_breaks_every_gpu_leaves_out_none_of_them(open_desk) -> None:
    desk = open_desk("search.trials=1", "search.max_restarts=1")
    names = [f"GPU {number} of here" for number in range(4)]
    number = desk.take().number
    for name in names:  # all were in use before
        desk.dispatcher.granted(number, name)
    for name in names:
        if desk.state(number) is TrialState.WAITING:
            desk.take()
        desk.dispatcher.granted(number, name)
        desk.dispatcher.segment_ended(number, FELL_OFF)
    assert desk.state(number) is TrialState.FAIL
    assert desk.dispatcher.excluded_gpus() == ()


def test_the_rest_of_the_search_trains_on_the_other_gpu(open_desk) -> None:
    desk = open_desk("search.trials=3", "search.max_restarts=0")
    on(desk, GOOD)
    for _ in range(2):
        desk.dispatcher.segment_ended(on(desk, BAD), FELL_OFF)
    desk.dispatcher.segment_ended(0, Outcome("preempted", "moved"))
    finish(desk, ACCURACIES)
    assert desk.dispatcher.finished
    assert {record.state for record in desk.study.records()} <= {TrialState.COMPLETE, TrialState.PAUSED}


def test_faults_of_cpus_are_not_counted(open_desk) -> None:
    desk = open_desk("search.trials=1", "search.max_restarts=1")
    desk.dispatcher.segment_ended(desk.take().number, Outcome("killed", "died"))
    assert len(desk.study.record(0).deaths) == 1
    assert "gpus" not in desk.folder.log.read_text(encoding="utf-8")
