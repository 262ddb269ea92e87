import math

import pytest

from search.policy.records import TrialState
from search.policy.rungs import Ladder, earned_rung, ordinary_trials, promotable, standing
from tests.helpers.search.policy_builders import trial

PAUSED, COMPLETE, FAIL = TrialState.PAUSED, TrialState.COMPLETE, TrialState.FAIL


@pytest.mark.parametrize(("ended", "places"), [(0, 0), (2, 0), (3, 1), (8, 2), (9, 3), (243, 81), (3**20, 3**19)])
def test_promotion_count_is_exact(ended: int, places: int):
    assert Ladder(3).promotion_count(ended) == places


def test_a_ladder_that_keeps_everything_is_refused():
    with pytest.raises(ValueError, match="reduction_factor: expected 2 or more, found 1"):
        Ladder(1)


def test_stops_are_rung_by_rung_or_at_the_end():
    assert [Ladder(3).next_stop(stage, 4) for stage in range(4)] == [0, 1, 2, 3]
    assert (Ladder(3).first_stop(4), Ladder(3, prunes=False).first_stop(4)) == (0, 3)


def test_no_trial_pauses_before_the_first_rung() -> None:
    late = Ladder(3, first_rung=2)
    assert [late.next_stop(stage, 4) for stage in range(4)] == [2, 2, 2, 3]
    assert late.first_stop(4) == 2
    assert late.first_stop(2) == 1, "a trial of fewer stages goes to its end"
    assert Ladder(3, prunes=False, first_rung=1).first_stop(4) == 3


def test_no_trial_pauses_at_an_unreliable_rung() -> None:
    records = [trial(number, PAUSED, [0.1], [0.1 * number], stage_count=4) for number in range(3)]
    adaptive = Ladder(3, adaptive=True).as_of(records)
    assert adaptive.skipped == {(4, 0), (4, 1)}
    assert [adaptive.next_stop(stage, 4) for stage in range(4)] == [2, 2, 2, 3]
    assert Ladder(3).as_of(records) == Ladder(3)
    assert Ladder(3, prunes=False, adaptive=True).as_of(records).next_stop(0, 4) == 3


def test_standing_at_a_rung():
    records = [
        trial(1, PAUSED, [0.2, 0.6, 0.4]),  # the best epoch counts, not the last
        trial(2, COMPLETE, [0.7], [0.1], [0.1]),  # further on: it counts here with its value here
        trial(3, PAUSED, [math.nan]),
        trial(4, FAIL, [0.9]),
        trial(5, PAUSED, [0.6]),
        trial(6, PAUSED),
        trial(7, COMPLETE, [0.65], stage_count=1),
    ]
    assert [record.number for record in standing(records, 0)] == [2, 7, 1, 5, 3, 4]
    assert [record.number for record in standing(records, 1)] == [2]
    assert promotable(records, 0, Ladder(3)) is None
    assert promotable(records, 0, Ladder(2)).number == 1


def test_a_stage_that_ended_early_is_still_a_rung():
    early, planned = trial(1, PAUSED, [0.5], [0.6]), trial(2, PAUSED, [0.5] * 9, [0.5] * 9)
    assert promotable([planned, early], 1, Ladder(2)) == early


def test_ordinary_trials_exclude_privileged_ones():
    records = [
        trial(0, COMPLETE, [0.1], [0.1], [0.1]),
        trial(1, PAUSED, [0.5]),
        trial(2, COMPLETE, [0.5], stage_count=1),
        trial(3, COMPLETE, [0.5], [0.5], [0.5], run_to_end_at=4),
    ]
    assert [record.number for record in ordinary_trials(records)] == [1]
    assert ordinary_trials([]) == []


@pytest.mark.parametrize(
    ("curves", "rung"),
    [
        ([], None),
        ([[0.1]], 0),
        ([[0.1], [0.1]], 0),  # privileged, and behind all others
        ([[0.9], [0.1]], 1),  # led the rung before
        ([[0.1], [0.75]], 1),  # privileged, but ahead of a trial that has earned the rung
        ([[0.1], [0.75], [0.1]], 1),
        ([[0.1], [0.95], [0.1]], 2),
    ],
)
def test_the_rung_that_the_baseline_has_earned(curves: list[list[float]], rung: int | None):
    ordinary = [trial(1, PAUSED, [0.8], [0.7]), trial(2, COMPLETE, [0.85], [0.9], [0.9]), trial(3, PAUSED, [0.6])]
    assert earned_rung(trial(0, PAUSED, *curves), ordinary) == rung
