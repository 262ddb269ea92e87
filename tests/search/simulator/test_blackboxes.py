"""Which recorded training answers a proposal."""

import pytest

from search.errors import CurvesError
from search.experiment.template import space_of
from search.policy.policy import Proposal, SearchPolicy
from search.policy.rungs import Ladder
from search.simulator.blackboxes import RecordedCurves
from search.simulator.simulate import simulate
from tests.helpers.search.blackbox_builders import curve

SPACE = space_of(
    {
        "net": {"choice": ["a", "b", "c"]},
        "rate": {"loguniform": [1e-4, 1e-2]},
        "drop": {"uniform": [0.0, 1.0]},
    }
)


def point(net: str, rate: float, drop: float) -> dict[str, object]:
    return {"train.net": net, "train.rate": rate, "train.drop": drop}


ROWS = (
    curve([0.5], params=point("a", 1e-3, 0.5), is_baseline=True),
    curve([0.6], params=point("a", 1e-2, 0.5)),
    curve([0.7], params=point("b", 1e-3, 0.5)),
    curve([0.65], params=point("a", 1e-2, 0.5), seed=1),
    curve([0.8], params=point("c", 1e-4, 0.0)),
)
RECORDED = RecordedCurves(SPACE, ROWS)


def answer(params: dict[str, object], taken: frozenset[int] = frozenset(), **more: object) -> int | None:
    return RECORDED.train(Proposal(params, **more), taken=taken, seed=0).row


def test_a_configuration_with_several_seeds_is_one_row() -> None:
    assert RECORDED.size == 4
    assert [len(row) for row in RECORDED.rows] == [1, 2, 1, 1]
    assert RECORDED.train(Proposal(ROWS[1].params), taken=set(), seed=5).curve == ROWS[1]


def test_the_nearest_free_row_answers() -> None:
    wanted = point("a", 9e-3, 0.5)  # 0.02 from row 1, 0.48 from row 0, 1.48 from row 2, 2.48 from row 3
    assert [answer(wanted, frozenset(range(n))) for n in range(4)] == [1, 1, 2, 3]
    assert answer(wanted, frozenset({1})) == 0
    assert answer(wanted, frozenset({0, 1})) == 2


def test_choices_are_equal_or_different_in_any_order() -> None:
    # In the list, c stands farther from a (row 1) than from b (row 2), whose rate is farther off.
    assert answer(point("c", 5e-3, 0.5), frozenset({3})) == 1


def test_the_baseline_always_gets_its_row() -> None:
    assert answer(point("c", 1e-4, 0.0), is_baseline=True) == 0
    assert RECORDED.baseline == ROWS[0].params
    unmarked = RecordedCurves(SPACE, ROWS[1:])
    assert unmarked.baseline == SPACE.default()
    assert unmarked.train(Proposal(SPACE.default(), is_baseline=True), taken=set(), seed=0).row in range(3)


def test_a_repetition_is_another_seed_and_takes_no_row() -> None:
    taken = frozenset({1})
    again = [RECORDED.train(Proposal(ROWS[1].params, repetition=n), taken=taken, seed=0) for n in (1, 2)]
    assert [one.curve.seed for one in again] == [1, 0], "in turn"
    assert [one.row for one in again] == [None, None]
    once = RECORDED.train(Proposal(ROWS[2].params, repetition=1), taken=frozenset({2}), seed=0)
    assert once.curve == ROWS[2], "recorded once, it repeats itself"


def test_a_parameter_missing_on_one_side_counts_one() -> None:
    space = space_of(
        {"net": {"choice": {"big": {"size": {"choice": [1, 2]}}, "small": {}}}, "x": {"uniform": [0.0, 1.0]}}
    )
    rows = [
        curve([0.5], params={"train.net": "big", "train.net.big.size": 2, "train.x": 0.0}),
        curve([0.5], params={"train.net": "small", "train.x": 1.0}),
    ]
    recorded = RecordedCurves(space, rows)

    def nearest(params: dict[str, object]) -> int | None:
        return recorded.train(Proposal(params), taken=set(), seed=0).row

    assert nearest({"train.net": "small", "train.x": 0.0}) == 1, "1 from the second; 2 from the first"
    assert nearest({"train.net": "big", "train.net.big.size": 1, "train.x": 0.9}) == 0, "1.9 against 2.1"


def test_a_proposal_without_a_free_row_is_an_error() -> None:
    with pytest.raises(CurvesError, match="all 4 recorded configurations are taken"):
        answer(point("a", 1e-3, 0.5), frozenset(range(4)))
    with pytest.raises(CurvesError, match=r"curve 2: train.drop: 1.5 is outside uniform \[0, 1\]"):
        RecordedCurves(SPACE, (ROWS[0], curve([0.5], params=point("a", 1e-3, 1.5))))
    with pytest.raises(CurvesError, match="no curve"):
        RecordedCurves(SPACE, ())


def test_a_search_takes_every_row_once() -> None:
    rules = SearchPolicy(SPACE, RECORDED.baseline, Ladder(2), "random", seed=0)
    found = simulate(rules, RECORDED, workers=2, max_trials=100, seed=0)

    assert sorted(str(record.params) for record in found.records) == sorted(str(row[0].params) for row in RECORDED.rows)
    assert found.records[0].is_baseline
    assert found.records[0].params == ROWS[0].params
