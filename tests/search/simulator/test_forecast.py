"""Means over searches."""

import math

import pytest

from benchmarks.formulas import CROSSING
from search.policy.policy import SearchPolicy
from search.policy.rungs import Ladder
from search.simulator.forecast import Forecast, forecast, summarize
from search.simulator.simulate import simulate
from tests.helpers.search.blackbox_builders import LINE, InOrder, curve

GOOD = (curve([0.5], [0.6]), curve([0.7], [0.8]), curve([0.6], [0.7]))


def play(*curves):
    rules = SearchPolicy(LINE, LINE.default(), Ladder(2), "random", seed=0)
    return simulate(rules, InOrder(curves), workers=1, max_trials=9, seed=0)


def test_means_by_hand() -> None:
    # Of three, trial 1 is promoted and trial 2 run to its end: 6 epochs. The second search is the baseline alone.
    found = summarize([play(*GOOD), play(GOOD[0])], size=3)

    assert found.holdout_accuracy == pytest.approx((0.675 + 0.475) / 2)
    assert found.standard_error == pytest.approx(0.1)  # |a - b| / 2 of two
    assert (found.started, found.finished) == (2.0, 2.0)
    assert found.cost_s == (6 + 2) / 2
    assert found.last_improvement_s == (4 + 2) / 2, "trial 1 is promoted once it is the best of two"
    assert found.ran_out, "one search took all three rows"
    assert not summarize([play(GOOD[0])], size=3).ran_out


def test_searches_that_find_nothing_have_no_mean() -> None:
    nothing = play(curve(stage_count=2, infeasible=True))

    assert summarize([nothing], size=9) == Forecast(None, None, 1.0, 0.0, 0.0, None, ran_out=False)


def test_a_larger_budget_finds_better_trials_on_crossing_curves() -> None:
    def at(trainings: float) -> Forecast:
        return forecast(CROSSING, Ladder(3), sampler="random", workers=2, budget_s=trainings * 30.0, seeds=range(6))

    small, large = at(2), at(20)
    assert small.holdout_accuracy is not None
    assert large.holdout_accuracy is not None
    assert small.holdout_accuracy < large.holdout_accuracy
    assert small.started < large.started
    assert not large.ran_out


def test_a_forecast_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="budget_s: expected a finite number"):
        forecast(CROSSING, Ladder(3), sampler="random", workers=1, budget_s=math.inf, seeds=[0])
    with pytest.raises(ValueError, match="seeds: expected at least one"):
        forecast(CROSSING, Ladder(3), sampler="random", workers=1, budget_s=1.0, seeds=[])
