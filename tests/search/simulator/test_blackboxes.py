"""Which recorded training answers a proposal, and properties of the formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import CurvesError
from search.experiment.template import space_of
from search.policy.policy import Proposal, SearchPolicy
from search.policy.rungs import Ladder
from search.simulator.blackboxes import RecordedCurves
from search.simulator.curves import Curve
from search.simulator.formulas import CROSSING, EPOCHS, FORMULAS, NOISY, WELL_BEHAVED, FormulaBlackbox
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


def _train(blackbox: FormulaBlackbox, params: dict[str, object], *, seed: int = 0) -> Curve:
    return blackbox.train(Proposal(params), taken=set(), seed=seed).curve


@pytest.mark.parametrize("blackbox", FORMULAS.values(), ids=FORMULAS)
@given(number=st.integers(0, 2**20))
@settings(max_examples=20, deadline=None)
def test_formulas_give_whole_trainings_at_every_point(blackbox: FormulaBlackbox, number: int) -> None:
    params = blackbox.space.sample(np.random.default_rng(number))
    found = _train(blackbox, params)

    assert found == _train(blackbox, dict(reversed(params.items()))), "depends only on the values"
    assert found.params == params
    assert [point.stage for point in found.points] == [
        stage for stage, epochs in enumerate(EPOCHS) for _ in range(epochs)
    ]
    assert [at for at, point in enumerate(found.points, start=1) if point.stage_ended] == list(np.cumsum(EPOCHS))
    for point in found.points:
        assert 0.0 <= point.val_accuracy <= 1.0
        assert point.val_log_loss > 0
        assert math.isfinite(point.val_log_loss)
        assert point.seconds == blackbox.groups[str(params["train.backbone"])].seconds[point.stage]


def test_another_seed_or_repetition_gives_other_noise() -> None:
    params = dict(NOISY.baseline)
    first = _train(NOISY, params)
    assert _train(NOISY, params, seed=1).points != first.points
    again = NOISY.train(Proposal(params, repetition=1), taken=set(), seed=0).curve
    assert again.points != first.points
    assert again.params == first.params


def _rank_correlation(blackbox: FormulaBlackbox, stage: int) -> float:
    """Between the best score of a stage and the best of the training, over random configurations."""
    rng = np.random.default_rng(0)
    curves = [_train(blackbox, blackbox.space.sample(rng)) for _ in range(200)]
    early = [max(point.val_accuracy for point in one.points if point.stage == stage) for one in curves]
    late = [one.points[-1].val_accuracy for one in curves]
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (early, late)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_well_behaved_curves_keep_their_order_and_crossing_ones_do_not() -> None:
    assert _rank_correlation(WELL_BEHAVED, 0) > 0.9
    assert _rank_correlation(CROSSING, 0) < 0.0
    assert _rank_correlation(CROSSING, 2) > 0.85, "the order is known late"
    assert 0.0 < _rank_correlation(NOISY, 0) < 0.9


def test_crossing_curves_dip_after_unfreezing_and_then_overtake() -> None:
    slow = _train(replace(CROSSING, noise=0.0), dict(CROSSING.baseline) | {"train.backbone": "slow"})
    fast = _train(replace(CROSSING, noise=0.0), dict(CROSSING.baseline) | {"train.backbone": "fast"})
    head_end, unfrozen = EPOCHS[0] - 1, EPOCHS[0]
    assert slow.points[unfrozen].val_accuracy < slow.points[head_end].val_accuracy
    assert slow.points[head_end].val_accuracy < fast.points[head_end].val_accuracy
    assert slow.points[-1].val_accuracy > fast.points[-1].val_accuracy


def test_noisy_accuracies_are_shares_of_120_photos_with_ties() -> None:
    rng = np.random.default_rng(0)
    seen = [_train(NOISY, NOISY.space.sample(rng)).points[2].val_accuracy * 120 for _ in range(60)]
    assert all(abs(value - round(value)) < 1e-9 for value in seen)
    assert len({round(value) for value in seen}) < 40
