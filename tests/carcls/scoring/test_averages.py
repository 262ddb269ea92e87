from math import hypot

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.scoring.averages import SHORTFALL, AverageGain, average_gain, corrected, ensemble_gain, of_average
from carcls.scoring.expectation import Z_95, wilson
from carcls.scoring.gains import Normal
from carcls.scoring.metrics import accuracy


def noisy_members(seed: int, *, members: int, photos: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """(members, photos, classes) softmax outputs around one uncertain truth, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    truth = 2.0 * rng.normal(size=(photos, 5))
    labels = (truth + rng.gumbel(size=truth.shape)).argmax(axis=1)  # drawn from the truth's softmax
    logits = truth + noise * rng.normal(size=(members, *truth.shape))
    raised = np.exp(logits - logits.max(axis=2, keepdims=True))
    return raised / raised.sum(axis=2, keepdims=True), labels


@pytest.mark.parametrize("noise", [0.5, 1.0, 1.5])
def test_the_gain_of_averaging_is_told_without_labels(noise):
    members, labels = noisy_members(0, members=4, photos=6_000, noise=noise)
    single = float(np.mean([accuracy(member, labels) for member in members]))
    gained = accuracy(members.mean(axis=0), labels) - single
    assert ensemble_gain(members, single) == pytest.approx(gained, abs=0.02)


def test_of_very_noisy_members_too_little_is_promised_and_not_too_much():
    members, labels = noisy_members(0, members=4, photos=6_000, noise=3.0)
    single = float(np.mean([accuracy(member, labels) for member in members]))
    gained = accuracy(members.mean(axis=0), labels) - single
    assert 0.5 * gained < ensemble_gain(members, single) < gained


def test_members_that_agree_gain_nothing():
    [member], _ = noisy_members(1, members=1, photos=50, noise=1.0)
    assert ensemble_gain(member[None], 0.6) == 0.0
    assert ensemble_gain(np.stack([member] * 3), 0.6) == 0.0


def test_the_average_is_expected_near_its_accuracy_and_within_the_interval():
    members, labels = noisy_members(2, members=4, photos=4_000, noise=1.5)
    fold = np.arange(300) % 4
    hits = members[fold, np.arange(300)].argmax(axis=1) == labels[:300]
    found = of_average(hits, members[:, 300:1_300], seed=0)
    reached = accuracy(members[:, 300:].mean(axis=0), labels[300:])
    assert found.low < reached < found.high
    assert found.accuracy > hits.mean(), "better than one of its members"
    lower = of_average(hits, members[:, 300:1_300], seed=0, correction=-0.05)
    assert lower.accuracy == pytest.approx(found.accuracy - 0.05)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), right=st.floats(0.0, 1.0), photos=st.integers(1, 60))
def test_expectations_are_shares_within_their_intervals(seed, right, photos):
    members, _ = noisy_members(seed, members=3, photos=photos, noise=1.0)
    hits = np.random.default_rng(seed).random(25) < right
    found = of_average(hits, members, seed=seed)
    assert 0.0 <= found.low <= found.accuracy <= found.high <= 1.0


@pytest.mark.parametrize(("models", "share"), [(2, 1 / 2), (3, 1 / 6), (4, 1 / 12)])
def test_the_shortfall_counts_less_the_more_models_are_averaged(models, share):
    members, labels = noisy_members(3, members=models, photos=400, noise=1.5)
    hits = members[0].argmax(axis=1) == labels
    plain = average_gain(hits, members, seed=0, shortfall=Normal(0.0, 1e-12))
    found = average_gain(hits, members, seed=0, shortfall=Normal(0.6, 1e-12))
    assert found.gain == pytest.approx(plain.gain * (1 + 0.6 * share))
    assert found.variance == pytest.approx(plain.variance * (1 + 0.6 * share) ** 2)
    unsure = average_gain(hits, members, seed=0, shortfall=Normal(0.6, 0.3))
    assert unsure.gain == found.gain
    assert unsure.variance - found.variance == pytest.approx((plain.gain * share * 0.3) ** 2)


def test_the_gain_has_no_shortfall_with_one_model():
    [member], _ = noisy_members(1, members=1, photos=50, noise=1.0)
    assert average_gain(np.ones(20, np.bool_), member[None], seed=0).gain == 0.0


def test_each_side_of_the_interval_adds_accuracy_and_gain_in_squares():
    found = corrected(AverageGain(single=0.95, photos=700, gain=0.03, variance=0.01**2), correction=-0.005)
    low, high = wilson(0.95, 700)
    assert found.accuracy == pytest.approx(0.975)
    assert found.low == pytest.approx(0.975 - hypot(0.95 - low, Z_95 * 0.01))
    assert found.high == pytest.approx(0.975 + hypot(high - 0.95, Z_95 * 0.01))
    certain = corrected(AverageGain(single=0.95, photos=700, gain=0.0, variance=0.0), correction=0.0)
    assert (certain.low, certain.high) == pytest.approx((low, high))


@pytest.mark.parametrize("models", [2, 3, 4])
def test_the_shipped_shortfall_brings_the_gain_nearer_to_the_truth(models):
    members, labels = noisy_members(4, members=models, photos=6_000, noise=1.5)
    single = float(np.mean([accuracy(member, labels) for member in members]))
    gained = accuracy(members.mean(axis=0), labels) - single
    said = ensemble_gain(members, single)
    assert said < gained, "the average agrees with its members more than the truth does"
    corrected_for = said * (1 + SHORTFALL.mean / (models * (models - 1)))
    assert abs(corrected_for - gained) < gained - said
