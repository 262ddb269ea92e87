"""How an epoch's seconds are assigned to phases: pure functions of timestamps."""

import numpy as np
import pytest

from carcls.training.epoch import score, traced_s, waited_s


def test_only_steps_that_began_before_their_batch_have_waited():
    steps = [(10.0, 12.0), (12.0, 13.0), (13.0, 16.0)]
    ready = {0: 9.5, 1: 12.25, 2: 15.0}
    assert waited_s(9.0, steps, ready) == pytest.approx(1.0 + 0.0 + 0.25 + 2.0)


def test_a_batch_that_is_late_for_its_step_counts_at_most_the_step():
    assert waited_s(0.0, [(0.0, 1.0), (1.0, 2.0)], {0: 0.0, 1: 99.0}) == pytest.approx(1.0)


def test_tracing_is_the_first_steps_excess_over_the_median():
    steps = [(0.0, 5.0), (5.0, 6.0), (6.0, 9.0), (9.0, 10.0)]
    assert traced_s(steps, {0: 1.0, 2: 8.0}) == pytest.approx(4.0 - 1.0)
    assert traced_s([(0.0, 1.0), (1.0, 3.0)], {}) == 0.0
    assert traced_s([(0.0, 5.0)], {}) == 0.0, "a single step shows no tracing"


def test_non_finite_probabilities_score_as_diverged():
    scores = score(np.array([[0.5, np.nan]], np.float32), np.array([0]))
    assert np.isnan(scores.log_loss)
    assert (scores.accuracy, scores.macro_f1) == (0.0, 0.0)
