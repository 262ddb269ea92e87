import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.augment.erasing import erase


def erased(probability: float, index: int, *, height: int = 60, width: int = 80) -> np.ndarray:
    """Where a grey photo has changed, bool (height, width)."""
    photo = np.full((height, width, 3), 300 - 256, np.uint8)
    erase(photo, probability, seed=1, view=2, index=index)
    return (photo != 44).any(axis=-1)


def test_it_happens_as_often_as_the_probability_says():
    happened = sum(erased(0.25, index).any() for index in range(1_000))
    assert abs(happened - 250) < 5.5 * (1_000 * 0.25 * 0.75) ** 0.5
    assert not any(erased(0.0, index).any() for index in range(50))
    assert all(erased(1.0, index).any() for index in range(50))


def test_a_rectangle_of_two_to_forty_percent_is_filled_with_noise():
    shares = []
    for index in range(200):
        changed = erased(1.0, index)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        inside = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert inside.mean() > 0.98, "noise rarely equals the grey of the photo"
        shares.append(inside.size / changed.size)
    assert 0.015 < min(shares) < 0.06
    assert 0.3 < max(shares) < 0.42


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_it_is_a_function_of_the_view_at_any_size(seed, view, index, height, width):
    one, same = (np.zeros((height, width, 3), np.uint8) for _ in range(2))
    for photo in (one, same):
        erase(photo, 1.0, seed=seed, view=view, index=index)
    np.testing.assert_array_equal(one, same)
