import numpy as np
import pytest

from carcls.scoring.choices import Kept
from carcls.scoring.expectation import Trained, bags, of_winner, wilson


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


@pytest.mark.parametrize(("photos", "left_out"), [(2, 1), (19, 2), (100, 10)])
def test_a_sample_leaves_out_a_tenth_of_the_photos_and_draws_the_others_once(photos, left_out):
    found = bags(photos, seed=3)
    assert (found.left_out.sum(axis=1) == left_out).all()
    assert found.drawn.shape == (len(found.left_out), photos - left_out)
    for drawn, out in zip(found.drawn, found.left_out, strict=True):
        assert sorted([*drawn, *np.flatnonzero(out)]) == list(range(photos))


def test_a_clear_winner_is_not_made_worse_than_it_is():
    """A choice on samples with fewer different photos would pick the other now and then."""
    told, true = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        hits = rng.random((2, 100)) < [[0.8], [0.7]]
        told.append(of_winner([trained(np.where(row, 0.1, 2.0), row) for row in hits], seed=seed).accuracy)
        true.append([0.8, 0.7][int(hits[1].sum() > hits[0].sum())])
    error = np.std(np.subtract(told, true), ddof=1) / np.sqrt(len(told))
    assert abs(np.mean(told) - np.mean(true)) < 2 * error
