import math
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.policy.agreement import ENOUGH_TRIALS, agreeing_pairs, unreliable_rungs
from search.policy.records import TrialState
from tests.helpers.search.policy_builders import trial

PAUSED, COMPLETE, FAIL = TrialState.PAUSED, TrialState.COMPLETE, TrialState.FAIL
BEST_LAST = tuple(0.1 + 0.1 * place for place in range(ENOUGH_TRIALS))


def trials(head, most, **changes):
    """Trials of four stages with ranks at the head's rung and the last one; all are equal between them."""
    return [
        trial(number, PAUSED, [first], [0.5], [last], stage_count=4, **changes)
        for number, (first, last) in enumerate(zip(head, most, strict=True))
    ]


ranks = st.tuples(st.sampled_from([0.1, 0.2, 0.3]), st.sampled_from([-2.0, -1.0]))


@given(st.lists(st.tuples(ranks, ranks), max_size=12))
def test_pairs_agree_where_both_orders_are_strict_and_the_same(order):
    expected = sum(
        (one[0] < other[0] and one[1] < other[1]) or (one[0] > other[0] and one[1] > other[1])
        for one, other in combinations(order, 2)
    )
    assert agreeing_pairs(order) == expected


def test_a_rung_is_reliable_from_six_trials_on():
    assert unreliable_rungs([]) == frozenset()
    assert unreliable_rungs(trials(BEST_LAST[:5], BEST_LAST[:5])) == {(4, 0), (4, 1)}
    assert unreliable_rungs(trials(BEST_LAST, BEST_LAST)) == {(4, 1)}, (
        "ties, as after the stage between, agree with nothing"
    )
    assert unreliable_rungs(trials(BEST_LAST, BEST_LAST[::-1])) == {(4, 0), (4, 1)}


@pytest.mark.parametrize("order", permutations(range(ENOUGH_TRIALS)))
def test_three_of_four_pairs_are_enough(order):
    inversions = sum(one > other for one, other in combinations(order, 2))
    assert ((4, 0) in unreliable_rungs(trials([0.1 * place for place in order], BEST_LAST))) is (
        15 - inversions < 0.75 * 15
    )


def test_the_last_rung_is_always_reliable():
    assert unreliable_rungs([trial(0, PAUSED, [0.5], stage_count=2)]) == frozenset()
    assert unreliable_rungs([trial(0, COMPLETE, [0.5], stage_count=1)]) == frozenset()
    assert unreliable_rungs([trial(0, PAUSED, [0.5], stage_count=3)]) == {(3, 0)}


def test_trials_with_fewer_stages_have_their_own_last_rung():
    witnesses = trials(BEST_LAST, BEST_LAST)
    assert unreliable_rungs([*witnesses, trial(6, FAIL, stage_count=5, infeasible=True)]) == {
        *((4, 1), *((5, stage) for stage in range(3)))
    }, "one that is longer doubts for itself alone"
    assert unreliable_rungs([*witnesses, trial(6, TrialState.WAITING, stage_count=3)]) == {(4, 1), (3, 0)}, (
        "after stage 1 all tied"
    )
    shorter = [trial(6 + more, COMPLETE, [0.1 * more], [0.1 * more], [0.5], stage_count=3) for more in range(12)]
    assert unreliable_rungs([*witnesses, *shorter]) == {(4, 1)}


def test_trials_that_give_no_evidence():
    witnesses = trials(BEST_LAST, BEST_LAST)
    others = [
        trial(6, FAIL, [0.9], [0.5], [0.05], stage_count=4),
        trial(7, PAUSED, [0.9], [0.5], [math.nan], stage_count=4),
        trial(8, COMPLETE, [0.9], [0.5], [0.05], stage_count=3),
        trial(9, COMPLETE, [0.9], [0.5], [0.05], [0.9], stage_count=4, repeats=0),
        trial(10, PAUSED, [0.9], [0.5], stage_count=4),
    ]
    assert unreliable_rungs([*witnesses, *others]) == {(4, 1), (3, 0)}
    against = [trial(11 + more, COMPLETE, [0.9], [0.5], [0.05], [0.9], stage_count=4) for more in range(2)]
    assert unreliable_rungs([*witnesses, *against]) == {(4, 0), (4, 1)}
