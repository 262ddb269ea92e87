"""Ranking trials by their score, shrunk towards a model over all trials of the search: a rule on trial, not shipped."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.choice_rules import shipped_choice
from benchmarks.choice_tables import Training

_PENALTY = 1.0
"""Of ridge, for features that add up to a variance of 1: signal and the rest count as equally large beforehand."""
_WIDE = 10.0
"""Largest over smallest value from which a parameter is taken by its logarithm."""
_SMALLEST_VARIANCE = 1e-6


def observed(pool: Sequence[Training]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) scaled log-loss of the weights that each training keeps, and the variance of its error.

    The photos are the same for all, so that only what differs from the pool's mean loss of a photo is error.
    """
    losses = np.stack([shipped_choice(one.candidates).scaled.losses for one in pool])
    return losses.mean(axis=1), (losses - losses.mean(axis=0)).var(axis=1, ddof=1) / losses.shape[1]


def features(pool: Sequence[Training]) -> np.ndarray:
    """(n, d) of the parameters: numbers, their logarithms where the range is wide, and a column for each choice."""
    names = sorted({name for one in pool for name in one.curve.params})
    columns = [column for name in names for column in _columns([one.curve.params for one in pool], name)]
    return np.stack(columns, axis=1) if columns else np.zeros((len(pool), 0))


def _columns(params: Sequence[Mapping[str, Any]], name: str) -> list[np.ndarray]:
    values = [one.get(name) for one in params]
    if all(isinstance(value, int | float) for value in values):
        numbers = np.array(values, float)
        is_wide = numbers.min() > 0 and numbers.max() / numbers.min() >= _WIDE
        return [np.log(numbers) if is_wide else numbers]
    return [np.array([str(value) == choice for value in values], float) for choice in sorted(set(map(str, values)))[1:]]


def shrunk(scores: np.ndarray, variances: np.ndarray, params: np.ndarray) -> np.ndarray:
    """(searches, trials) scores, each combined with what ridge predicts for it from the other trials of its search.

    scores, variances: (searches, trials), see `observed`; params: (searches, trials, d). Weights are inverse variances;
    that of the prediction is its squared error over the trials less that of the scores themselves.
    """
    predicted = _predicted_without(scores, params)
    excess = ((scores - predicted) ** 2 - variances).mean(axis=1, keepdims=True)
    doubt = np.maximum(excess, _SMALLEST_VARIANCE)
    weight = doubt / (doubt + variances)
    return weight * scores + (1.0 - weight) * predicted


def _predicted_without(scores: np.ndarray, params: np.ndarray) -> np.ndarray:
    """Of each trial, by ridge on the others; leaving one out has a closed form."""
    count = scores.shape[1]
    spread = params.std(axis=1, keepdims=True)
    varied = (spread > 0).sum(axis=2, keepdims=True)
    standard = (params - params.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    standard = standard / np.sqrt(np.maximum(varied, 1))
    kernel = standard @ standard.transpose(0, 2, 1)
    hat = kernel @ np.linalg.inv(kernel + _PENALTY * np.eye(count)) + 1.0 / count
    residuals = scores - (hat @ scores[:, :, None])[:, :, 0]
    own = np.einsum("sii->si", hat)
    return scores - residuals / (1.0 - own)
