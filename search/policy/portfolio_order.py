"""The order of a portfolio: configurations that are good together on recorded data sets. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def greedy_order(losses: NDArray[np.floating], data_sets: Sequence[int], *, most: int) -> list[int]:
    """Rows of `losses` in the order in which they should be tried, at most `most` of them.

    losses: (configurations, cells), lower is better; NaN counts as worst. data_sets: of each cell; each data set
    counts once, however many cells it has. Greedy by mean rank (Wistuba et al. 2015, 'Sequential Model-Free
    Hyperparameter Tuning'): the next configuration is the one whose addition gives the best mean rank of the best loss
    so far. It stops once another one would improve no cell. The earlier of equals wins.
    """
    count, cells = losses.shape
    known = np.where(np.isnan(losses), np.inf, losses)
    weights = np.array([1.0 / list(data_sets).count(one) for one in data_sets]) / len(set(data_sets))
    best = np.full(cells, np.inf)
    order: list[int] = []
    while len(order) < min(most, count):
        after = np.minimum(best, known)
        if order and not (after < best).any():
            break
        ranks = np.stack([_ranks(after[:, cell]) for cell in range(cells)], axis=1)
        mean = ranks @ weights
        mean[order] = np.inf
        chosen = int(np.argmin(mean))
        order.append(chosen)
        best = after[chosen]
    return order


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 1, equal values sharing their mean rank."""
    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    ranks: NDArray[np.float64] = below + (equal + 1) / 2
    return ranks
