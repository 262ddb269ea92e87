import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.policy_statistics import TWO_STANDARD_ERRORS, compare, cost_to_reach, holm, reach, standard_error

COSTS = np.array([1.0, 2.0, 3.0, 4.0, 5.0])


def test_standard_error_by_hand():
    """Deviations -1, 0, 1: variance 1 with n - 1, its root over the root of 3."""
    assert standard_error(np.array([1.0, 2.0, 3.0])) == pytest.approx(1 / math.sqrt(3))
    assert math.isnan(standard_error(np.array([1.0])))


@pytest.mark.parametrize(
    ("mean", "by", "expected"),
    [
        ([0.1, 0.5, 0.6, 0.7, 0.8], 4.0, 2.0),
        ([0.5, 0.5, 0.5, 0.5, 0.5], 4.0, 1.0),
        ([0.6, 0.4, 0.6, 0.6, 0.6], 4.0, 3.0),  # reached by luck, and lost again
        ([0.6, 0.6, 0.6, 0.6, 0.1], 4.0, 1.0),  # what comes after the budget is not looked at
        ([0.1, 0.2, 0.3, 0.4, 0.5], 4.0, 5.0),  # only beyond the budget
        ([0.6, 0.6, 0.6, 0.4, 0.6], 4.0, 5.0),
        ([0.1, 0.2, 0.3, 0.4, 0.4], 4.0, None),
        ([0.1, 0.2, 0.3, 0.4, 0.4], 5.0, None),
    ],
)
def test_cost_to_reach_a_half(mean, by, expected):
    assert cost_to_reach(np.array(mean), COSTS, 0.5, by=by) == expected


@given(
    st.lists(st.floats(0, 1), min_size=5, max_size=5), st.lists(st.floats(0, 0.5), min_size=5, max_size=5),
    st.floats(0, 1), st.sampled_from(COSTS.tolist()),
)  # fmt: skip
def test_a_curve_that_is_nowhere_lower_reaches_a_goal_no_later(mean, more, goal, by):
    lower = cost_to_reach(np.array(mean), COSTS, goal, by=by)
    higher = cost_to_reach(np.array(mean) + np.array(more), COSTS, goal, by=by)
    assert (higher or math.inf) <= (lower or math.inf)


def test_reach_by_hand():
    """Means: ours 0.2 0.5 0.6 0.6 0.6; the peer's 0.1 0.2 0.5 0.5 0.7, so 0.5 at a budget of 4, got from 3 on."""
    ours = np.array([[0.1, 0.4, 0.5, 0.5, 0.5], [0.3, 0.6, 0.7, 0.7, 0.7]])
    peer = np.array([[0.0, 0.1, 0.4, 0.4, 0.6], [0.2, 0.3, 0.6, 0.6, 0.8]])
    found = reach(ours, peer, COSTS, budget=4.0)
    assert (found.ours, found.is_enough, found.peer, found.budget) == (2.0, True, 3.0, 4.0)
    assert (found.of_budget, found.of_peer) == (0.5, pytest.approx(2 / 3))
    assert found.standard_error == 0.0  # both seeds say so


def test_what_is_never_reached_counts_as_all_that_was_played():
    found = reach(np.full((3, 5), 0.4), np.full((3, 5), 0.5), COSTS, budget=4.0)
    assert (found.ours, found.is_enough, found.peer) == (5.0, False, 1.0)


def test_resampling_tells_how_sure_a_cost_is():
    """One seed of four is late: a resample without it is early."""
    ours = np.array([[0.5] * 5] * 3 + [[0.0, 0.0, 0.5, 0.5, 0.5]])
    found = reach(ours, np.full((4, 5), 0.5), COSTS, budget=4.0)
    share_without_it = 0.75**4
    spread = 2.0 / 4.0 * math.sqrt(share_without_it * (1 - share_without_it))
    assert found.ours == 3.0
    assert found.standard_error == pytest.approx(spread, rel=0.15)


def test_a_paired_comparison_by_hand():
    """Differences -0.02, -0.01, 0, 0.01, 0.02: mean 0, standard error 0.01 / sqrt(2); t = 0.005 / 0.00707 = 0.7071."""
    peer = np.array([0.1, 0.9, 0.5, 0.3, 0.7])
    found = compare(peer + np.array([-0.02, -0.01, 0.0, 0.01, 0.02]), peer, allowed=0.005)
    assert found.difference == pytest.approx(0.0, abs=1e-12)
    assert found.standard_error == pytest.approx(0.01 / math.sqrt(2))
    # t distribution with 4 degrees of freedom: F(t) = 1/2 + 3/8 (s - s^3/3) * 2, s = t / sqrt(4 + t^2)
    s = math.sqrt(0.5) / math.sqrt(4.5)
    assert found.p_worse == pytest.approx(0.5 + 0.75 * (s - s**3 / 3))
    assert found.p_worse + found.p_not_shown == pytest.approx(1.0)


@pytest.mark.parametrize(("shift", "p_worse", "p_not_shown"), [(-0.01, 0.0, 1.0), (-0.001, 1.0, 0.0), (0.0, 1.0, 0.0)])
def test_equal_differences_leave_no_doubt(shift, p_worse, p_not_shown):
    found = compare(np.full(4, 0.5) + shift, np.full(4, 0.5), allowed=0.005)
    assert (found.p_worse, found.p_not_shown) == (p_worse, p_not_shown)


def test_holm_by_hand():
    """At 0.05 over four: 0.01 <= 0.0125 falls, 0.016 <= 0.0167 falls, 0.03 > 0.025 ends it, though 0.04 <= 0.05."""
    assert holm([0.03, 0.01, 0.04, 0.016], level=0.05) == [False, True, False, True]
    assert holm([], level=0.05) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_fells_what_bonferroni_does_and_nothing_that_a_single_test_would_not(p_values):
    fallen = holm(p_values)
    for p, falls in zip(p_values, fallen, strict=True):
        assert falls or p > TWO_STANDARD_ERRORS / len(p_values)
        assert not falls or p <= TWO_STANDARD_ERRORS


def test_the_level_is_two_standard_errors_to_one_side():
    assert pytest.approx(0.02275, abs=1e-5) == TWO_STANDARD_ERRORS
