"""How an epoch's seconds are shared out: pure functions over a clock's marks."""

import numpy as np
import pytest

from carcls.training.epoch import score, traced_s, waited_s


def test_only_steps_that_began_before_their_batch_was_there_have_waited():
    steps = [(10.0, 12.0), (12.0, 13.0), (13.0, 16.0)]
    ready = {0: 9.5, 1: 12.25, 2: 15.0}
    assert waited_s(9.0, steps, ready) == pytest.approx(1.0 + 0.0 + 0.25 + 2.0)


def test_a_batch_that_is_ready_after_its_step_counts_no_longer_than_the_step():
    assert waited_s(0.0, [(0.0, 1.0), (1.0, 2.0)], {0: 0.0, 1: 99.0}) == pytest.approx(1.0)


def test_the_first_step_is_traced_as_far_as_it_is_slower_than_the_median():
    steps = [(0.0, 5.0), (5.0, 6.0), (6.0, 9.0), (9.0, 10.0)]
    assert traced_s(steps, {0: 1.0, 2: 8.0}) == pytest.approx(4.0 - 1.0)
    assert traced_s([(0.0, 1.0), (1.0, 3.0)], {}) == 0.0
    assert traced_s([(0.0, 5.0)], {}) == 0.0, "one step alone tells nothing"


def test_probabilities_that_are_not_finite_score_as_diverged():
    scores = score(np.array([[0.5, np.nan]], np.float32), np.array([0]))
    assert np.isnan(scores.log_loss)
    assert (scores.accuracy, scores.macro_f1) == (0.0, 0.0)
