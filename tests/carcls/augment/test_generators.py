"""The two generators of a view depend only on (seed, view, index) and share no random words."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.augment.generators import ViewGenerators

PLACES = st.tuples(st.integers(0, 2**70), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


def draws(generators: ViewGenerators, place: tuple[int, int, int]) -> tuple[list[float], list[float], float]:
    seed, view, index = place
    generators.start(seed=seed, view=view, index=index)
    return (
        generators.numpy.random(6).tolist(),
        [generators.python.random() for _ in range(6)],
        generators.python.gauss(),
    )


@given(PLACES, PLACES, st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_earlier_draws_leave_no_trace(place, before, left_over):
    """Half-used words, buffers and Gaussian pairs do not carry over to the next view."""
    used = ViewGenerators()
    draws(used, before)
    used.numpy.integers(0, 256, left_over, dtype=np.uint8)
    used.numpy.integers(0, 2**31, left_over, dtype=np.uint32)
    for _ in range(left_over):
        used.python.gauss()
    assert draws(used, place) == draws(ViewGenerators(), place)


@given(st.lists(PLACES, min_size=2, max_size=20, unique=True))
@settings(max_examples=30, deadline=None)
def test_no_two_views_share_a_number(places):
    generators = ViewGenerators()
    drawn = [draws(generators, place) for place in places]
    numbers = [number for by_numpy, by_python, _ in drawn for number in (*by_numpy, *by_python)]
    assert len(set(numbers)) == len(numbers)


def test_neighbours_on_each_axis_are_uncorrelated():
    generators = ViewGenerators()
    for axis in range(3):
        place = [5, 6, 7]
        columns = []
        for number in range(4_000):
            place[axis] = number
            by_numpy, by_python, _ = draws(generators, tuple(place))
            columns.append((by_numpy[0], by_numpy[1], by_python[0], by_python[1]))
        table = np.array(columns)
        after = np.roll(table, -1, axis=0)
        found = np.corrcoef(np.hstack([table, after]).T) - np.eye(8)
        # 28 correlations of sigma 1/sqrt(4000) on each of three axes, with fixed seeds.
        assert np.abs(found).max() < 4.5 / np.sqrt(4_000), axis
        assert np.abs(table.mean(axis=0) - 0.5).max() < 4.5 * np.sqrt(1 / 12 / 4_000), axis


def test_the_states_are_six_words_of_philox():
    """Verifies the layout independently, with NumPy's own constructor and the same key and counter."""
    generators = ViewGenerators()
    generators.start(seed=11, view=3, index=4)
    key = np.random.SeedSequence(11).generate_state(2, np.uint64)
    a, b, c, d, e, f = np.random.Philox(key=key, counter=[0, 4, 3, 0]).random_raw(6).tolist()
    state = generators.numpy.bit_generator.state
    assert state["state"] == {"state": (c << 64) | d, "inc": (e << 64) | f | 1}
    assert state["has_uint32"] == 0
    assert generators.python.getstate() == random.Random((a << 64) | b).getstate()  # noqa: S311 - no secret
