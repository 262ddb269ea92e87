"""Signals to a driver: counted, acknowledged at once, and raised at safe points."""

import os
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.driver.interrupts import FINISHING, STOPPING, Interrupts, counted


@pytest.fixture
def calls() -> list[str]:
    return []


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_the_first_ctrl_c_only_requests_a_stop(capfd, calls: list[str]) -> None:
    interrupts = Interrupts()
    with interrupts.listening(lambda: calls.append("first")):
        _send(signal.SIGINT)
        interrupts.raise_if_due()
    assert (interrupts.asked, interrupts.now, calls) == (True, False, ["first"])
    assert capfd.readouterr().err == FINISHING


def test_the_second_ctrl_c_ends_at_a_safe_point_and_the_third_at_once(capfd, calls: list[str]) -> None:
    interrupts = Interrupts()
    with interrupts.listening(lambda: calls.append("first")):
        _send(signal.SIGINT)
        _send(signal.SIGINT)
        assert interrupts.now
        with pytest.raises(KeyboardInterrupt):
            interrupts.raise_if_due()
        with pytest.raises(KeyboardInterrupt):
            _send(signal.SIGINT)
    assert calls == ["first"]
    assert capfd.readouterr().err == FINISHING + STOPPING


def test_sigterm_does_not_wait_for_an_epoch(capfd) -> None:
    interrupts = Interrupts()
    with interrupts.listening(lambda: None):
        _send(signal.SIGTERM)
        assert interrupts.now
    assert capfd.readouterr().err == STOPPING


def test_previous_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with Interrupts().listening(lambda: None):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def test_the_first_error_from_another_thread_ends_the_run() -> None:
    interrupts, first = Interrupts(), ValueError("first")
    interrupts.raise_if_due()
    interrupts.end_with(first)
    interrupts.end_with(ValueError("second"))
    assert (interrupts.now, interrupts.asked, interrupts.error) == (True, False, first)
    with pytest.raises(KeyboardInterrupt):
        interrupts.raise_if_due()


@settings(deadline=None)
@given(st.lists(st.sampled_from([signal.SIGINT, signal.SIGTERM]), min_size=1, max_size=5))
def test_only_a_lone_ctrl_c_waits(numbers: list[int]) -> None:
    times = 0
    for number in numbers:
        times = counted(times, number)
    assert (times == 1) is (numbers == [signal.SIGINT])
