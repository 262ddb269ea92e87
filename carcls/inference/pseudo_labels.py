"""Pseudo-labels (Lee 2013): unlabelled photos on whose class enough predictions agree. Pure functions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carcls.inference.tta import VIEWS


def view_names(count: int) -> tuple[str, ...]:
    """The first `count` views, `plain` first; all if there are fewer."""
    return tuple(VIEWS)[:count]


def agreed(
    predictions: Sequence[NDArray[np.floating]], agreement: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the photos that get a label, ascending, and their labels: (k,), (k,).

    predictions: probabilities (n, classes) of the same photos, one for each view of each model; each votes for its most
    probable class. A photo is labelled if at least this share of the votes names one class; agreement: above 0.5, at
    most 1. Votes of probabilities that are not finite name no class.
    """
    if not predictions or not 0.5 < agreement <= 1.0:
        raise ValueError(f"expected predictions and an agreement above 0.5, at most 1; found {agreement}")
    count, classes = predictions[0].shape
    votes = np.zeros((count, classes), np.int64)
    for one in predictions:
        finite = np.isfinite(one).all(axis=1)
        votes[finite, one[finite].argmax(axis=1)] += 1
    labels = votes.argmax(axis=1) if classes else np.zeros(count, np.int64)
    # In integers: 0.9 of 10 votes are 9, which 0.9 * 10 as a float might exceed.
    enough = votes.max(axis=1, initial=0) >= np.ceil(agreement * len(predictions) - 1e-9)
    rows = np.flatnonzero(enough)
    return rows, labels[rows]
