"""Balanced sampling: equal classes in every epoch, and equal use of photos over epochs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.input.sampling import balanced_order, plain_order

SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any)
"""Photos per class; some classes are empty."""


GOLDEN = (
    [4, 6, 2, 7, 3, 5, 9, 0, 8, 1],
    [3, 5, 4, 7, 8, 0, 9, 2, 1, 6],
    [9, 8, 3, 5, 6, 4, 2, 6, 1, 0],
)


def labels_of(sizes: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))


def counts(photos: np.ndarray, total: int) -> np.ndarray:
    return np.bincount(photos, minlength=total)


@given(SIZES, st.integers(0, 99), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_every_epoch_has_its_length_and_equal_classes(sizes, seed, epoch):
    labels = labels_of(sizes)
    order = balanced_order(labels, seed=seed, epoch=epoch)
    assert len(order.photos) == len(order.showings) == len(labels)
    shares = np.bincount(labels[order.photos], minlength=len(sizes))
    filled = shares[np.array(sizes) > 0]
    assert filled.max() - filled.min() <= 1
    assert (shares[np.array(sizes) == 0] == 0).all()


@given(SIZES, st.integers(0, 99), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_within_an_epoch_no_photo_comes_again_before_all_of_its_class(sizes, seed, epoch):
    labels = labels_of(sizes)
    times = counts(balanced_order(labels, seed=seed, epoch=epoch).photos, len(labels))
    for label in np.unique(labels):
        of_class = times[labels == label]
        assert of_class.max() - of_class.min() <= 1


@given(SIZES, st.integers(0, 99), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_over_epochs_photos_of_a_class_and_classes_are_shown_equally_often(sizes, seed, epochs):
    labels = labels_of(sizes)
    times = np.zeros(len(labels), int)
    for epoch in range(epochs):
        order = balanced_order(labels, seed=seed, epoch=epoch)
        for photo in np.unique(order.photos):  # `showings` counts earlier ones
            showings = np.sort(order.showings[order.photos == photo])
            assert showings.tolist() == list(range(times[photo], times[photo] + len(showings)))
        times += counts(order.photos, len(labels))
    totals = []
    for label in np.unique(labels):
        of_class = times[labels == label]
        assert of_class.max() - of_class.min() <= 1
        totals.append(of_class.sum())
    assert max(totals) - min(totals) <= 1


def test_seed_and_epoch_fix_the_order():
    labels = labels_of([30, 9, 5])

    def order(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(balanced_order(labels, seed=seed, epoch=epoch).photos.tolist())

    assert order(3, 5) == order(3, 5)
    assert len({order(seed, epoch) for seed in range(4) for epoch in range(4)}) == 16


def test_which_photos_of_a_large_class_an_epoch_shows_is_drawn_by_the_seed():
    """Not a run of neighbours in the table, which are often from one photographer."""
    labels = np.repeat([0, 1], [90, 6])
    shown = [np.unique(balanced_order(labels, seed=seed, epoch=0).photos) for seed in range(20)]
    large = [photos[photos < 90] for photos in shown]
    assert all(len(photos) == 48 for photos in large)
    assert len({tuple(photos) for photos in large}) == 20
    assert abs(np.mean([photos.mean() for photos in large]) - 44.5) < 3  # standard error 0.6


def test_classes_are_spread_over_the_epoch():
    labels = labels_of([50, 50, 10])
    first_half = np.array(
        [np.bincount(labels[balanced_order(labels, seed=0, epoch=epoch).photos][:55]) for epoch in range(60)]
    )
    assert np.abs(first_half.mean(axis=0) - 55 / 3).max() < 2  # standard error 0.3


@given(st.integers(1, 200), st.integers(0, 99), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_a_plain_epoch_shows_every_photo_once(count, seed, epoch):
    order = plain_order(count, seed=seed, epoch=epoch)
    assert sorted(order.photos.tolist()) == list(range(count))
    assert (order.showings == epoch).all()


def test_plain_orders_are_those_that_earlier_studies_trained_in():
    """Golden values: a resumed training must continue in its original order."""
    assert plain_order(10, seed=0, epoch=0).photos.tolist() == GOLDEN[0]
    assert plain_order(10, seed=7, epoch=3).photos.tolist() == GOLDEN[1]
    assert balanced_order(labels_of([5, 3, 2]), seed=7, epoch=3).photos.tolist() == GOLDEN[2]
