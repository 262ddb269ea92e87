"""Blackboxes by formula: whole trainings, noise by seed, and curves that cross."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.formulas import CROSSING, EPOCHS, FORMULAS, NOISY, WELL_BEHAVED, FormulaBlackbox
from search.policy.policy import Proposal
from search.simulator.curves import Curve


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
