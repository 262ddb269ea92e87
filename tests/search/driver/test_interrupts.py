"""Signals to a driver: counted, acknowledged at once, and raised at safe points."""

import os
import signal
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.driver.interrupts import (
    FINISHING,
    HANDING_OVER,
    STOPPING,
    AskedToEnd,
    Interrupts,
    Request,
    ended_by_sigterm,
    request_after,
)


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


def test_sigterm_gives_trainings_a_bounded_time_to_save(capfd, calls: list[str]) -> None:
    now_s = [100.0]
    interrupts = Interrupts(hand_over_s=15.0, clock_s=lambda: now_s[0])
    with interrupts.listening(lambda: calls.append("first")):
        assert not interrupts.hands_over
        _send(signal.SIGTERM)
        assert (interrupts.hands_over, interrupts.terminated, interrupts.now) == (True, True, False)
        now_s[0] = 114.9
        interrupts.raise_if_due()
        now_s[0] = 115.0
        with pytest.raises(AskedToEnd):
            interrupts.raise_if_due()
    assert calls == ["first"]
    assert capfd.readouterr().err == HANDING_OVER


def test_sigterm_after_ctrl_c_no_longer_waits_for_the_epoch(capfd, calls: list[str]) -> None:
    interrupts = Interrupts()
    with interrupts.listening(lambda: calls.append("first")):
        _send(signal.SIGINT)
        assert not interrupts.hands_over
        _send(signal.SIGTERM)
        assert interrupts.hands_over
    assert calls == ["first"]
    assert capfd.readouterr().err == FINISHING + HANDING_OVER


def test_a_second_sigterm_ends_at_a_safe_point_and_a_third_at_once(capfd) -> None:
    interrupts = Interrupts()
    with interrupts.listening(lambda: None):
        _send(signal.SIGTERM)
        _send(signal.SIGTERM)
        assert (interrupts.hands_over, interrupts.now) == (False, True)
        with pytest.raises(AskedToEnd):
            interrupts.raise_if_due()
        with pytest.raises(AskedToEnd):
            _send(signal.SIGTERM)
    assert capfd.readouterr().err == HANDING_OVER + STOPPING


def test_outside_a_run_sigterm_is_an_exception() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ended_by_sigterm():
        with Interrupts().listening(lambda: None):
            _send(signal.SIGTERM)
        with pytest.raises(AskedToEnd):
            _send(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


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
def test_each_signal_asks_for_more(numbers: list[signal.Signals]) -> None:
    asked = list(accumulate(numbers, request_after, initial=Request.NONE))
    assert all(later > earlier for earlier, later in pairwise(asked) if earlier is not Request.AT_ONCE)
    assert (asked[-1] is Request.AFTER_EPOCH) is (numbers == [signal.SIGINT])
    assert (asked[-1] is Request.WITHIN_EPOCH) is (numbers in ([signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]))
    assert (asked[-1] is Request.AT_ONCE) is (len(numbers) >= 3 + (numbers[:2] == [signal.SIGINT, signal.SIGTERM]))
