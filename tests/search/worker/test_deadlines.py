"""When a worker counts as stuck: by its own epochs, on a clock that a test advances."""

import multiprocessing
import os
import signal
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.events import EpochReport, PhaseSeconds
from search.experiment.search_settings import DeadlineSettings
from search.worker.deadlines import Deadline, deciding_setting, driver_timeout_s, timeout_s
from search.worker.segment import Outcome
from tests.helpers.search.trial_builders import epoch_report

MINUTES = DeadlineSettings(epoch_factor=10.0, shortest_minutes=1.0, first_epoch_minutes=30.0)


def epoch(number: int, seconds: float, *, stage: int = 0, ended: bool = False) -> EpochReport:
    bare = epoch_report(number, stage=stage, accuracy=0.5, ended=ended)
    return replace(bare, seconds=PhaseSeconds(train=seconds, validate=0.0))


@pytest.mark.parametrize(
    ("reports", "seconds", "setting"),
    [
        ((), 1800, "first_epoch_minutes"),
        ((epoch(1, 20),), 200, "epoch_factor"),
        ((epoch(1, 20), epoch(2, 7)), 200, "epoch_factor"),  # the slowest counts
        ((epoch(1, 2),), 60, "shortest_minutes"),  # however short
        ((epoch(1, 20, ended=True),), 1800, "first_epoch_minutes"),  # another stage compiles anew
        ((epoch(1, 500, ended=True),), 5000, "epoch_factor"),
        ((epoch(1, 500, ended=True), epoch(2, 30, stage=1)), 300, "epoch_factor"),  # and has its own pace
        ((epoch(1, 500, ended=True), epoch(2, 3, stage=1)), 60, "shortest_minutes"),
    ],
)
def test_how_long_a_worker_may_say_nothing_and_by_which_setting(
    reports: tuple[EpochReport, ...], seconds: float, setting: str
) -> None:
    assert timeout_s(reports, MINUTES) == seconds
    assert deciding_setting(reports, MINUTES) == setting


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1e4), max_size=6))
def test_the_driver_outwaits_the_worker_which_outwaits_any_epoch(seconds: list[float]) -> None:
    reports = [epoch(number, length) for number, length in enumerate(seconds, start=1)]
    worker = timeout_s(reports, MINUTES)
    assert driver_timeout_s(reports, MINUTES) > 2 * worker
    assert all(worker >= 2 * length for length in seconds)


class Clock:
    """A clock that a test advances, with or without checks of the deadline."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.deadline = Deadline(MINUTES, clock_s=lambda: self.now_s)

    def watched(self, seconds: float) -> float:
        """Checks once a second; returns the seconds left."""
        for _ in range(round(seconds)):
            self.now_s += 1.0
            left_s = self.deadline.left_s
        return left_s


def test_each_message_sets_the_clock_back() -> None:
    clock = Clock()
    deadline = clock.deadline
    assert deadline.left_s == 1800
    assert clock.watched(1799) == 1
    deadline.received(None)
    assert deadline.left_s == 1800, "any message resets the silence"
    deadline.received(epoch(1, 20))
    assert clock.watched(150) == 50
    assert clock.watched(51) == 0
    assert deadline.cause.startswith("no report within 200 s (search.deadline.epoch_factor)")
    deadline.received(epoch(2, 1, ended=True))
    deadline.received(epoch(3, 1, stage=1))
    assert clock.watched(60) == 0
    assert deadline.cause.startswith("no report within 60 s (search.deadline.shortest_minutes)")


def test_time_the_watcher_was_suspended_does_not_count() -> None:
    """A paused machine, or a driver after Ctrl-Z: its clock ran on, and it wakes before its workers."""
    clock = Clock()
    clock.deadline.received(epoch(1, 20))
    assert clock.watched(150) == 50
    clock.now_s += 8 * 3600
    assert clock.deadline.left_s == 45
    clock.now_s += 8 * 3600
    clock.deadline.received(None)
    assert clock.deadline.left_s == 200
    assert clock.watched(200) == 0, "silence while the watcher runs counts"


def _stuck(messages, lifeline) -> None:
    """A child that sends one message and then stops; it does not even notice that its actor is gone."""
    messages.send(epoch(1, 0.01))
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_stuck_child_is_killed_and_its_end_is_reported() -> None:
    from search.worker.supervisor import _end, _messages

    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe(duplex=False)
    lifeline, ours = context.Pipe(duplex=False)
    child = context.Process(target=_stuck, args=(theirs, lifeline))
    child.start()
    theirs.close()
    settings = DeadlineSettings(epoch_factor=2.0, shortest_minutes=0.005, first_epoch_minutes=5.0)

    told = list(_messages(pipe, child, Deadline(settings)))
    _end(child)
    ours.close()

    report, outcome = told
    assert isinstance(report, EpochReport)
    assert isinstance(outcome, Outcome)
    assert outcome.kind == "killed"
    assert outcome.timeout_setting == "search.deadline.shortest_minutes"
    assert outcome.timeout_setting in (outcome.cause or "")
    assert child.exitcode == -signal.SIGKILL
