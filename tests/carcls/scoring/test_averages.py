from math import hypot, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.scoring.averages import (
    AverageGain,
    average_gain,
    corrected,
    members_of_several,
    of_average,
    promised,
)
from carcls.scoring.expectation import Z_95, wilson
from carcls.scoring.gains import Normal
from carcls.scoring.metrics import accuracy

CERTAIN = 1e-12


def log_odds(share: float) -> float:
    return log(share / (1 - share))


def noisy_members(seed: int, *, members: int, photos: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """(members, photos, classes) softmax outputs around one uncertain truth, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    truth = 2.0 * rng.normal(size=(photos, 5))
    labels = (truth + rng.gumbel(size=truth.shape)).argmax(axis=1)  # drawn from the truth's softmax
    logits = truth + noise * rng.normal(size=(members, *truth.shape))
    raised = np.exp(logits - logits.max(axis=2, keepdims=True))
    return raised / raised.sum(axis=2, keepdims=True), labels


def out_of_fold(members: np.ndarray) -> np.ndarray:
    """Each photo by one of the models."""
    return members[np.arange(members.shape[1]) % len(members), np.arange(members.shape[1])]


@pytest.mark.parametrize(("noise", "within"), [(0.5, 0.05), (1.0, 0.05), (1.5, 0.15)])
@pytest.mark.parametrize("models", [2, 3, 4])
def test_the_gain_of_averaging_is_told_without_the_labels_of_unseen_photos(noise, within, models):
    members, labels = noisy_members(0, members=models, photos=6_000, noise=noise)
    single = float(np.mean([accuracy(member, labels) for member in members]))
    gained = log_odds(accuracy(members.mean(axis=0), labels)) - log_odds(single)
    told = average_gain(out_of_fold(members), labels, members).log_odds.mean
    assert told == pytest.approx(gained, abs=within)


def test_of_very_noisy_members_too_little_is_told_and_not_too_much():
    members, labels = noisy_members(0, members=4, photos=6_000, noise=3.0)
    single = float(np.mean([accuracy(member, labels) for member in members]))
    gained = log_odds(accuracy(members.mean(axis=0), labels)) - log_odds(single)
    told = average_gain(out_of_fold(members), labels, members).log_odds.mean
    assert 0.4 * gained < told < gained


@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 100))
def test_members_of_several_groups_average_to_the_groups_averages_by_their_shares(counts, seed):
    rng = np.random.default_rng(seed)
    groups = [rng.dirichlet(np.ones(3), size=(count, 4)) for count in counts]
    shares = rng.dirichlet(np.ones(len(counts)))
    members = members_of_several(groups, shares)
    together = sum(share * group.mean(axis=0) for share, group in zip(shares, groups, strict=True))
    assert members.mean(axis=0) == pytest.approx(together)
    assert all(len(members) % count == 0 for count in counts)
    first = sum(share * group[0] for share, group in zip(shares, groups, strict=True))
    assert members[0] == pytest.approx(first), "one model of each group"


def test_one_group_is_its_own_members():
    members, _ = noisy_members(3, members=4, photos=20, noise=1.0)
    assert members_of_several([members], [1.0]) == pytest.approx(members)


@pytest.mark.parametrize("counts", [(4, 4), (4, 3), (2, 5)])
def test_the_gain_of_averaging_two_groups_is_told_by_members_that_average_one_of_each(counts):
    members, labels = noisy_members(1, members=sum(counts), photos=6_000, noise=1.0)
    groups = (members[: counts[0]], members[counts[0] :])
    pairs = members_of_several(groups, (0.5, 0.5))
    single = float(np.mean([accuracy(member, labels) for member in pairs]))
    together = (groups[0].mean(axis=0) + groups[1].mean(axis=0)) / 2
    gained = log_odds(accuracy(together, labels)) - log_odds(single)
    told = average_gain(out_of_fold(pairs), labels, pairs, kept=Normal(1.0, CERTAIN)).log_odds.mean
    assert gained > 0.05
    assert told == pytest.approx(gained, rel=0.3)


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_confidence_alone_promises_nothing(power):
    """Two members that are equally too sure, or not sure enough, are brought to what the labels say."""
    members, labels = noisy_members(5, members=2, photos=2_000, noise=1.0)
    raised = members**power / (members**power).sum(axis=2, keepdims=True)
    as_sure, too_sure = (average_gain(out_of_fold(one), labels, one).log_odds.mean for one in (members, raised))
    assert too_sure == pytest.approx(as_sure, rel=0.15)


def test_a_promise_is_the_difference_in_log_odds_that_the_mean_says():
    members = np.array([[[0.7, 0.3]] * 12, [[0.7, 0.3]] * 12, [[0.45, 0.55]] * 12])
    halves = np.array([log_odds(0.7), log_odds(0.7), log_odds(0.45)]) / 2
    sure = 2 * halves.mean() * (halves**2).mean() / halves.mean() ** 2
    together = 1 / (1 + np.exp(-sure))
    alone = (2 * together + (1 - together)) / 3  # one of three says the other class
    found = promised(members, 1.0)
    assert found.mean == pytest.approx(sure - log_odds(alone))
    assert found.sd == pytest.approx(0.0, abs=1e-12), "all photos alike"


def test_models_of_nothing_but_noise_are_no_surer_than_their_number_allows():
    members = np.array([[[0.7, 0.3], [0.3, 0.7]] * 6, [[0.31, 0.69], [0.69, 0.31]] * 6])
    halves = (log_odds(0.7) + log_odds(0.31)) / 4
    together = 1 / (1 + np.exp(-2 * 2 * halves))
    assert promised(members, 1.0).mean == pytest.approx(log_odds(together) - log_odds(0.5))


def test_members_that_agree_promise_nothing():
    [member], _ = noisy_members(1, members=1, photos=50, noise=1.0)
    assert promised(member[None], 1.0).mean == 0.0
    assert promised(np.stack([member] * 3), 1.3).mean == 0.0


def test_the_error_of_a_promise_is_that_of_the_mean_over_photos():
    members, _ = noisy_members(2, members=3, photos=400, noise=1.5)
    rng = np.random.default_rng(0)
    again = [promised(members[:, rng.integers(400, size=400)], 1.0).mean for _ in range(300)]
    assert promised(members, 1.0).sd == pytest.approx(np.std(again), rel=0.15)


def test_a_gain_multiplies_the_promise_and_its_errors_add_in_squares():
    members, labels = noisy_members(3, members=3, photos=400, noise=1.5)
    said = out_of_fold(members)
    one = average_gain(said, labels, members, kept=Normal(1.0, CERTAIN)).log_odds
    twice = average_gain(said, labels, members, kept=Normal(2.0, 0.5)).log_odds
    assert twice.mean == pytest.approx(2 * one.mean)
    assert twice.sd == pytest.approx(hypot(2 * one.sd, 0.5 * one.mean))


def test_the_average_is_expected_near_its_accuracy_and_within_the_interval():
    members, labels = noisy_members(2, members=4, photos=4_000, noise=1.5)
    said = out_of_fold(members)[:300]
    found = of_average(said, labels[:300], members[:, 300:1_300])
    reached = accuracy(members[:, 300:].mean(axis=0), labels[300:])
    assert found.low < reached < found.high
    assert found.accuracy > accuracy(said, labels[:300]), "better than one of its members"
    lower = of_average(said, labels[:300], members[:, 300:1_300], correction=-0.05)
    gain = log_odds(found.accuracy) - log_odds(accuracy(said, labels[:300]))
    assert log_odds(lower.accuracy) == pytest.approx(log_odds(accuracy(said, labels[:300]) - 0.05) + gain)


def test_each_side_of_the_interval_adds_accuracy_and_gain_in_squares():
    found = corrected(AverageGain(single=0.95, photos=700, log_odds=Normal(1.0, 0.2)), correction=0.0)
    low, high = wilson(0.95, 700)
    middle = log_odds(0.95) + 1.0
    assert log_odds(found.accuracy) == pytest.approx(middle)
    assert log_odds(found.low) == pytest.approx(middle - hypot(log_odds(0.95) - log_odds(low), Z_95 * 0.2))
    assert log_odds(found.high) == pytest.approx(middle + hypot(log_odds(high) - log_odds(0.95), Z_95 * 0.2))
    certain = corrected(AverageGain(single=0.95, photos=700, log_odds=Normal(0.0, 0.0)), correction=0.0)
    assert (certain.accuracy, certain.low, certain.high) == pytest.approx((0.95, low, high))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_photos_that_are_all_right_or_all_wrong_leave_half_a_photo(share):
    found = corrected(AverageGain(single=share, photos=50, log_odds=Normal(0.0, 0.0)), correction=0.0)
    assert found.accuracy == pytest.approx(abs(share - 0.01))
    assert 0.0 <= found.low <= found.accuracy <= found.high <= 1.0


def test_more_right_answers_never_lower_the_expectation():
    """The gain of members that disagree as before is shared by the photos left wrong."""
    told = [corrected(AverageGain(right / 200, 200, Normal(0.7, 0.1)), correction=0.0).accuracy for right in range(201)]
    assert (np.diff(told) > 0).all()
    assert told[-1] < 1.0
    assert told[195] - told[190] < 5 / 200, "near the top a photo more says less"


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), right=st.floats(0.0, 1.0), photos=st.integers(1, 60))
def test_expectations_are_shares_within_their_intervals(seed, right, photos):
    members, _ = noisy_members(seed, members=3, photos=photos, noise=1.0)
    rng = np.random.default_rng(seed)
    labels = rng.integers(5, size=25)
    said = 0.5 * np.eye(5)[np.where(rng.random(25) < right, labels, (labels + 1) % 5)] + 0.1
    found = of_average(said, labels, members)
    assert 0.0 <= found.low <= found.accuracy <= found.high <= 1.0
    if photos < 10:
        assert (found.low, found.high) == (0.0, 1.0)
