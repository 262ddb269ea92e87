"""What failures mean for trials and searches, case by case."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.policy.failures import (
    FAILURES_IN_A_ROW,
    FIRST_FAILURES,
    NO_CAUSE,
    NO_FAILURES,
    Streak,
    extended,
    may_restart,
    reason_of,
    to_retry,
    why_stop,
)
from search.policy.records import TrialState
from tests.helpers.search.policy_builders import trial

NOTHING_TRAINED = (trial(0, TrialState.FAIL),)
SOMETHING_TRAINED = (trial(0, TrialState.PAUSED, [0.5]),)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("DataError: cannot read train/0/1.jpg", "DataError: cannot read train/3/77.jpg", True),
        ("DataError: '1.jpg' is gone", "DataError: 'a b c.jpg' is gone", True),
        ("OSError: [Errno 28] No space left: '/a/b'", "OSError: [Errno 28] No space left: '/c'", True),
        ("OSError: No space left", "OSError: Permission denied", False),
        ("ValueError: odd", "TypeError: odd", False),
    ],
)
def test_errors_of_one_kind_differ_only_in_names_and_numbers(*, one: str, other: str, same: bool) -> None:
    assert (reason_of(one) == reason_of(other)) is same


@pytest.mark.parametrize(("deaths", "restarts", "again"), [((), 0, False), ((1,), 1, False), ((1,), 2, True)])
def test_a_death_without_progress_counts(*, deaths: tuple[int, ...], restarts: int, again: bool) -> None:
    record = trial(0, TrialState.RUNNING, [0.5], deaths=deaths)
    assert may_restart(record, restarts) is again


def test_a_death_before_the_last_epoch_does_not_count() -> None:
    assert may_restart(trial(0, TrialState.RUNNING, [0.5, 0.6], deaths=(0, 1, 1, 0)), 1)


@pytest.mark.parametrize(
    ("count", "records", "stops"),
    [
        (FIRST_FAILURES - 1, NOTHING_TRAINED, False),
        (FIRST_FAILURES, NOTHING_TRAINED, True),
        (FIRST_FAILURES, SOMETHING_TRAINED, False),
        (FAILURES_IN_A_ROW - 1, SOMETHING_TRAINED, False),
        (FAILURES_IN_A_ROW, SOMETHING_TRAINED, True),
    ],
)
def test_number_of_failures_that_stops_a_search(*, count: int, records: tuple, stops: bool) -> None:
    why = why_stop(Streak("ValueError: …", "ValueError: 7", count), records)
    assert (why is not None) is stops
    assert why is None or why.endswith("ValueError: 7"), "the error itself"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=30))
def test_a_streak_counts_its_latest_reason(causes: list[str]) -> None:
    streaks = [NO_FAILURES]
    for cause in causes:
        streaks.append(extended(streaks[-1], cause))
    for cause, (before, after) in zip(causes, pairwise(streaks), strict=True):
        assert (after.cause, after.count) == (cause, before.count + 1 if cause == before.cause else 1)


@pytest.mark.parametrize("count", [FIRST_FAILURES, FAILURES_IN_A_ROW])
@pytest.mark.parametrize("trained", [(), (trial(6, TrialState.PAUSED, [0.5]),)])
def test_only_failures_of_the_streak_are_retried(count: int, trained: tuple) -> None:
    failed = TrialState.FAIL
    streak = Streak(reason_of("OSError: 'a' is gone"), "OSError: 'a' is gone", count)
    records = (
        trial(0, failed, cause="OSError: 'a' is gone"),
        trial(1, failed, cause="KeyError: other"),
        trial(2, failed, cause="OSError: 'b' is gone"),
        trial(3, failed, cause="OSError: 'c' is gone", infeasible=True),
        trial(4, TrialState.RUNNING, cause="OSError: 'a' is gone"),
        trial(5, failed, [0.5], cause="OSError: 'd' is gone"),
        *trained,
        trial(7, failed),
    )
    assert to_retry(streak, records) == (0, 2, 5)
    assert to_retry(Streak(NO_CAUSE, NO_CAUSE, count), records) == (7,)
