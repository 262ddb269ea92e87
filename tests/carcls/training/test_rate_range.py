"""The rule of the range test, on losses of gradient descent on a quadratic, which are known exactly."""

import numpy as np
import pytest

from carcls.training.steps.rate_range import has_diverged, rising_rates, smoothed, suggested_rate

CURVATURE = 10.0
DIVERGES_FROM = 2.0 / CURVATURE
"""Gradient descent on a quadratic contracts below this rate and grows above it."""


def descent(rates: np.ndarray) -> list[float]:
    """Losses before each step on 1 + CURVATURE / 2 * w**2 from w = 1, until they have diverged."""
    weight, losses = 1.0, []
    for rate in rates:
        losses.append(1.0 + CURVATURE / 2 * weight**2)
        if has_diverged(losses):
            break
        weight -= rate * CURVATURE * weight
    return losses


def test_rates_rise_by_the_same_factor():
    rates = rising_rates(1e-4, 1.0, 5)
    np.testing.assert_allclose(rates, [1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    for wrong in ((0.0, 1.0, 5), (1.0, 1.0, 5), (1.0, 0.1, 5), (1e-4, 1.0, 1)):
        with pytest.raises(ValueError, match="expected rates"):
            rising_rates(*wrong)


def test_the_suggestion_for_a_quadratic_is_below_divergence_and_above_the_first_rate():
    rates = rising_rates(1e-5, 10.0, 120)
    losses = descent(rates)
    assert len(losses) < 120, "it ends at divergence"
    suggestion = suggested_rate(rates[: len(losses)], losses)
    assert 1e-5 < suggestion < DIVERGES_FROM
    assert suggestion > DIVERGES_FROM / 1000
    assert rates[len(losses) - 1] > DIVERGES_FROM


def test_noise_of_single_batches_moves_the_suggestion_little():
    rates = rising_rates(1e-5, 10.0, 120)
    losses = np.array(descent(rates))
    noisy = losses * (1 + 0.05 * np.random.default_rng(0).normal(size=len(losses)))
    exact, found = suggested_rate(rates[: len(losses)], losses), suggested_rate(rates[: len(losses)], noisy)
    assert exact / 2.5 < found < 2.5 * exact


def test_without_a_fall_there_is_no_suggestion():
    rates = rising_rates(1e-3, 1.0, 20)
    assert suggested_rate(rates, [2.0] * 20) is None
    assert suggested_rate(rates, list(np.linspace(1.0, 30.0, 20))) is None
    assert suggested_rate(rates[:1], [float("nan")]) is None
    assert suggested_rate([], []) is None


def test_a_loss_that_falls_to_the_end_suggests_a_tenth_of_the_last_rate():
    rates = rising_rates(1e-3, 1.0, 20)
    assert suggested_rate(rates, list(np.linspace(2.0, 1.0, 20))) == pytest.approx(0.1)
    early = [1.0 + 0.1 * abs(step - 12) for step in range(40)]
    assert suggested_rate(rising_rates(1e-3, 1.0, 40), early) == pytest.approx(1e-3), "never below the first"


def test_losses_that_scatter_around_little_have_neither_divergence_nor_suggestion():
    """A stage whose head reads nearly every photo; measured on drawn cars."""
    losses = [0.0002, 0.152, 0.0, 0.0003, 0.0, 0.0001, 0.0019, 0.0, 0.0001, 0.0046, 0.0001, 0.0, 0.0016, 0.5126]
    assert not has_diverged(losses)
    assert suggested_rate(rising_rates(1e-6, 1.0, 60)[:14], losses) is None
    assert has_diverged([*losses, 2.0, 2.0])


def test_smoothing_keeps_lines_centred_and_leaves_out_what_is_not_finite():
    np.testing.assert_allclose(smoothed([3.0] * 40), 3.0)
    line = np.arange(60.0)
    np.testing.assert_allclose(smoothed(line)[20:40], line[20:40])
    curve = smoothed([1.0, float("nan"), 1.0, float("inf")])
    np.testing.assert_allclose(curve, [1.0, np.nan, 1.0, np.nan])


def test_divergence_is_a_loss_far_above_the_lowest_or_not_finite():
    assert not has_diverged([])
    assert not has_diverged([5.0, 1.0, 1.0, 1.5])
    assert has_diverged([1.0, 1.0, 1.0, float("nan")])
    assert has_diverged([1.0, 1.0, 1.0, float("inf")])
    assert has_diverged([1.0] * 10 + [20.0] * 3)
    assert not has_diverged([1.0] * 10 + [3.0]), "one bad batch is no divergence"
