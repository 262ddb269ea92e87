"""The measured part of the built-in portfolio: which recorded configurations to try first, and what that is worth.

Greedy mean rank over the tables in benchmarks/tables, on the configurations that every data set has. Each order is
tested on a data set that did not choose it.
"""

from collections import defaultdict
from typing import Any

import numpy as np

from benchmarks.choice_tables import Training, holdout_scores, load_trainings
from carcls.scoring.choices import Kept, kept_epoch
from search.policy.portfolio_order import greedy_order

_MOST = 4


def kept_loss(training: Training) -> float:
    """Holdout log-loss of the weights that a training keeps."""
    epochs = [Kept(one.ends_stage, one.scaled.losses) for one in training.candidates]
    kept = kept_epoch(epochs)
    return holdout_scores(training.holdout[kept], training.holdout_labels)[1]


def main() -> None:
    """Prints the order, and the best loss after each trial beside the mean over random orders."""
    losses: dict[int, dict[tuple[str, int], float]] = defaultdict(dict)
    params: dict[int, dict[str, Any]] = {}
    for one in load_trainings():
        if one.kind == "short":
            losses[one.configuration][(one.photos, one.fold)] = kept_loss(one)
            params[one.configuration] = dict(one.curve.params)
    cells = sorted({cell for found in losses.values() for cell in found})
    shared = sorted(number for number, found in losses.items() if len(found) == len(cells))
    table = np.array([[losses[number][cell] for cell in cells] for number in shared])
    names = sorted({photos for photos, _ in cells})
    data_sets = [names.index(photos) for photos, _ in cells]
    order = greedy_order(table, data_sets, most=_MOST)
    print(f"{len(shared)} configurations on {len(cells)} folds of {', '.join(names)}")
    for place in order:
        print(f"  {shared[place]}: {params[shared[place]]}")
    for name in names:
        inside = np.array([names[one] != name for one in data_sets])
        chosen = greedy_order(
            table[:, inside], [one for one, kept in zip(data_sets, inside, strict=True) if kept], most=_MOST
        )
        test = table[:, ~inside]
        rng = np.random.default_rng(0)
        orders = [rng.permutation(len(shared))[:_MOST] for _ in range(2000)]
        for trials in range(1, len(chosen) + 1):
            by_order = test[chosen[:trials]].min(axis=0).mean()
            at_random = np.mean([test[one[:trials]].min(axis=0).mean() for one in orders])
            print(
                f"  {name}, ordered by the others: best log-loss after {trials}: {by_order:.3f}, random {at_random:.3f}"
            )


if __name__ == "__main__":
    main()
