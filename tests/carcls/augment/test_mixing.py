"""Mixup and cutmix: values computed by hand, and general properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.augment.mixing import Batch, Mixing, cutmix, mixup

CLASSES = 3


def batch_of(count: int, size: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return x, np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, count)]


class Scripted:
    """A fake generator with given shares, partners and centres."""

    def __init__(self, share: float, partners: list[int], centres: tuple[int, ...] = ()) -> None:
        self.share, self.partners, self.centres = share, np.array(partners), list(centres)

    def beta(self, a: float, b: float) -> float:
        assert a == b
        return self.share

    def permutation(self, count: int) -> np.ndarray:
        assert count == len(self.partners)
        return self.partners

    def integers(self, high: int) -> int:
        assert self.centres[0] < high
        return self.centres.pop(0)


def test_mixup_by_hand():
    x = np.zeros((3, 1, 2, 3), np.uint8)
    x[:, 0, 0, 0], x[:, 0, 1, 2] = [0, 100, 255], [255, 2, 1]
    y = np.eye(3, dtype=np.float32)
    mixed, labels = mixup((x, y), 0.2, Scripted(0.251, [1, 2, 0]))
    # 0.251 is 64/256: a quarter of the photo itself and three quarters of its partner, halves up
    assert mixed[:, 0, 0, 0].tolist() == [75, 216, 64]
    assert mixed[:, 0, 1, 2].tolist() == [65, 1, 192]
    assert labels.tolist() == [[0.25, 0.75, 0], [0, 0.25, 0.75], [0.75, 0, 0.25]]


@pytest.mark.parametrize(
    ("centres", "rows", "columns"),
    [((4, 4), range(2, 6), range(2, 6)), ((0, 7), range(2), range(5, 8)), ((7, 1), range(5, 8), range(3))],
)
def test_cutmix_by_hand(centres, rows, columns):
    x = np.zeros((2, 8, 8, 3), np.uint8)
    x[0], x[1] = 10, 20
    y = np.eye(2, dtype=np.float32)
    mixed, labels = cutmix((x, y), 1.0, Scripted(0.75, [1, 0], centres))  # a quarter of the area: half of each side
    inside = np.zeros((8, 8), bool)
    inside[np.ix_(rows, columns)] = True
    assert (mixed[0][inside] == 20).all()
    assert (mixed[0][~inside] == 10).all()
    assert (mixed[1] == 30 - mixed[0]).all()
    share = 1 - inside.sum() / 64
    assert labels.tolist() == [[share, 1 - share], [1 - share, share]]


@given(st.integers(1, 9), st.integers(1, 12), st.sampled_from([(0.2, 0.0), (0.0, 1.0), (0.3, 0.5)]), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_each_photo_is_shared_with_one_partner_and_its_label_alike(count, size, alphas, number):
    """Unique labels reveal partner and share, which must match the pixels."""
    x = batch_of(count, size)[0]
    y = np.eye(count, dtype=np.float32)
    before = x.copy(), y.copy()
    mixed, labels = Mixing(*alphas, seed=1, epoch=2).apply((x, y), number)
    assert (mixed.shape, mixed.dtype, labels.shape, labels.dtype) == (x.shape, np.uint8, y.shape, np.float32)
    assert np.array_equal(x, before[0])
    assert np.array_equal(y, before[1])
    assert not np.shares_memory(mixed, x)
    assert np.allclose(labels.sum(axis=1), 1, atol=1e-6)
    assert labels.min() >= 0
    own = np.diag(labels)
    others = labels - np.diag(own)
    assert (np.count_nonzero(others, axis=1) <= 1).all()
    assert np.allclose(labels.sum(axis=0), 1, atol=1e-6)  # partners are a permutation: each photo occurs once
    for row in range(count):
        a, b = (
            x[row].astype(float),
            x[others[row].argmax()].astype(float) if others[row].any() else x[row].astype(float),
        )
        blend = own[row] * a + (1 - own[row]) * b
        pasted = ((mixed[row] == a) | (mixed[row] == b)).all()
        assert pasted or np.abs(mixed[row] - blend).max() <= 0.5 + 1e-4


def test_seed_epoch_and_number_each_mix_otherwise_and_nothing_else_does():
    batch = batch_of(8, 4)
    base = {"seed": 0, "epoch": 0, "number": 0}

    def mixed(seed: int, epoch: int, number: int) -> bytes:
        x, y = Mixing(1.0, 1.0, seed=seed, epoch=epoch).apply(batch, number)
        return x.tobytes() + y.tobytes()

    np.random.seed(1)
    first = mixed(**base)
    np.random.seed(2)
    assert mixed(**base) == first
    for name in base:
        assert len({mixed(**{**base, name: value}) for value in range(20)}) == 20, name


def test_shares_follow_their_beta_distribution_and_the_coin_is_fair():
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)). With cutmix all pixels are black or white."""
    count = 4_000
    x = np.zeros((2, 16, 16, 3), np.uint8)
    x[1] = 255
    batch = x, np.eye(2, dtype=np.float32)

    def shares(alphas: tuple[float, float]) -> np.ndarray:
        all_labels = [Mixing(*alphas, seed=5, epoch=0).apply(batch, number)[1] for number in range(count)]
        return np.array([labels[0, 0] for labels in all_labels if labels[0, 1] > 0])

    # of batches whose two photos are partners of each other, which is every second one
    by_mixup = shares((1.0, 0.0))
    assert abs(len(by_mixup) / count - 0.5) < 0.05
    assert abs(by_mixup.mean() - 0.5) < 0.04
    assert abs(by_mixup.var() - 1 / 12) < 0.01
    assert shares((0.2, 0.0)).var() > 0.14  # 0.179, minus shares rounded to 0
    pasted = 0
    for number in range(count):
        mixed, labels = Mixing(8.0, 8.0, seed=5, epoch=0).apply(batch, number)
        pasted += bool(labels[0, 1] > 0) and set(np.unique(mixed)) <= {0, 255}
    assert abs(pasted / count - 0.25) < 0.04


def test_turned_off_mixing_returns_the_batch_itself():
    batch = batch_of(4, 3)
    assert Mixing(0.0, 0.0, seed=0, epoch=0).apply(batch, 0) is batch
