import numpy as np
import pytest

from carcls.scoring.gains import FEWEST_UNITS
from carcls.scoring.paired_gain import paired_gain

LABELS = np.arange(60) % 3


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sure(share: np.ndarray) -> np.ndarray:
    """(n, 3): this probability for the true class."""
    found = np.repeat((1 - share)[:, None] / 2, 3, axis=1)
    found[np.arange(len(share)), LABELS[: len(share)]] = share
    return found


def gain(before, after, units=None, **changed):
    count = len(before)
    units = np.arange(count) if units is None else units
    return paired_gain(before, after, LABELS[:count], units, confidence=0.9, seed=0, **changed)


def test_a_clear_gain_helps_and_its_mirror_does_not(rng):
    worse, better = sure(rng.uniform(0.3, 0.6, 60)), sure(rng.uniform(0.6, 0.9, 60))
    found, mirrored = gain(worse, better), gain(better, worse)
    assert found.helps
    assert 0 < found.low < found.saved < found.high
    assert found.accuracy_before == pytest.approx((worse.argmax(axis=1) == LABELS).mean())
    assert found.accuracy_after == 1.0
    assert found.photos == 60
    assert not mirrored.helps
    assert mirrored.saved == pytest.approx(-found.saved)


def test_noise_alone_does_not_help(rng):
    helped = [gain(sure(rng.uniform(0.3, 0.9, 60)), sure(rng.uniform(0.3, 0.9, 60))).helps for _ in range(60)]
    assert sum(helped) <= 9, "5 % are expected above a 90 % interval"


def test_a_constant_change_of_confidence_is_no_gain(rng):
    before = sure(rng.uniform(0.1, 0.9, 60))
    sharper = before**2 / (before**2).sum(axis=1, keepdims=True)
    found = gain(before, sharper)
    assert found.saved == pytest.approx(0.0, abs=1e-6)
    assert not found.helps


def test_lower_accuracy_does_not_help_though_log_loss_falls():
    before, after = np.full(60, 0.40), np.full(60, 0.9)
    after[0] = 0.32  # a wrong answer
    found = gain(sure(before), sure(after))
    assert found.low > 0
    assert found.accuracy_after < found.accuracy_before
    assert not found.helps


def test_photos_that_look_alike_count_once(rng):
    worse, better = sure(rng.uniform(0.3, 0.6, 60)), sure(rng.uniform(0.6, 0.9, 60))
    units = np.arange(60) % (FEWEST_UNITS - 1)
    assert not gain(worse, better, units).helps
    assert gain(worse, better, np.arange(60) % FEWEST_UNITS).helps


def test_values_that_are_not_finite_never_help():
    good, bad = sure(np.full(60, 0.6)), np.full((60, 3), np.nan)
    assert not gain(good, bad).helps
    assert not gain(bad, good).helps
