import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.policy.portfolio_order import greedy_order


def test_the_second_is_good_where_the_first_is_not():
    losses = np.array([[1.0, 1.0, 9.0], [1.1, 1.1, 8.0], [9.0, 9.0, 1.0], [2.0, 2.0, 8.5]])
    assert greedy_order(losses, [0, 1, 2], most=4) == [0, 2]


def test_each_data_set_counts_once_however_many_folds_it_has():
    losses = np.array([[1.0, 5.0, 5.0, 5.0], [9.0, 4.0, 4.0, 4.0]])
    assert greedy_order(losses, [0, 1, 1, 1], most=1) == [0], "a tie"
    assert greedy_order(losses, [0, 1, 2, 3], most=1) == [1]


def test_a_failed_training_is_worst_and_equals_keep_their_order():
    losses = np.array([[np.nan, 1.0], [2.0, 1.0], [2.0, 1.0]])
    assert greedy_order(losses, [0, 1], most=3) == [1]


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
def test_each_row_comes_once_and_improves_some_cell(count, cells, seed):
    rng = np.random.default_rng(seed)
    losses = rng.normal(size=(count, cells))
    order = greedy_order(losses, rng.integers(3, size=cells).tolist(), most=4)
    assert 1 <= len(order) <= min(4, count)
    assert len(set(order)) == len(order)
    for place in range(1, len(order)):
        assert (losses[order[place]] < losses[order[:place]].min(axis=0)).any()
