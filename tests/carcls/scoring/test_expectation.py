import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.scoring.choices import Kept
from carcls.scoring.expectation import Trained, ensemble_gain, of_average, of_winner, wilson
from carcls.scoring.metrics import accuracy


def trained(losses: np.ndarray, hits: np.ndarray) -> Trained:
    return Trained((Kept(True, losses),), hits[None])


def pool(seed: int, *, trials: int, photos: int, right: float) -> list[Trained]:
    """Trainings that are all equally good: which one wins is luck."""
    rng = np.random.default_rng(seed)
    hits = rng.random((trials, photos)) < right
    return [trained(np.where(row, 0.1, 2.0) + 0.01 * rng.random(photos), row) for row in hits]


def test_the_luck_of_the_winner_among_equals_is_taken_back():
    told, raw = [], []
    for seed in range(60):
        trainings = pool(seed, trials=16, photos=60, right=0.7)
        told.append(of_winner(trainings, seed=seed).accuracy)
        raw.append(max(training.hits.mean() for training in trainings))
    error = np.std(told, ddof=1) / np.sqrt(len(told))
    assert np.mean(raw) > 0.78, "a maximum of 16 noisy readings"
    assert abs(np.mean(told) - 0.7) < 3 * error + 0.01


def test_without_a_choice_nothing_is_taken_back():
    [one] = pool(0, trials=1, photos=400, right=0.8)
    found = of_winner([one], seed=0)
    assert found.accuracy == pytest.approx(one.hits.mean(), abs=0.01)
    assert (found.low, found.high) == wilson(found.accuracy, 400)


def test_the_epoch_is_chosen_anew_as_the_training_is():
    rng = np.random.default_rng(0)
    photos = 80
    told, raw = [], []
    for _ in range(60):
        hits = rng.random((6, photos)) < 0.6
        epochs = tuple(Kept(True, np.where(row, 0.1, 2.0)) for row in hits)
        told.append(of_winner([Trained(epochs, hits)], seed=1).accuracy)
        raw.append(hits.mean(axis=1).max())
    assert np.mean(raw) > 0.65
    assert abs(np.mean(told) - 0.6) < 0.02


def test_too_little_to_tell_is_refused():
    with pytest.raises(ValueError, match="expected trainings scored on 2 photos or more, found 0 and 0"):
        of_winner([], seed=0)
    with pytest.raises(ValueError, match="found 1 and 1"):
        of_winner([trained(np.ones(1), np.array([True]))], seed=0)


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
