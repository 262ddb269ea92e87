"""Model soups: one model whose weights are the mean of several trainings' (Wortsman et al. 2022, 'Model soups').

Means of weights only work for trainings that branched from common weights, such as one trained head; others are not
connected by a path of low loss.
"""

from collections.abc import Sequence

import numpy as np

from carcls.models.classifier import Classifier
from carcls.training.checkpoint import model_variables, restore_variables, variable_arrays


def souped(classifiers: Sequence[Classifier]) -> Classifier:
    """The first classifier with the mean of all weights, computed in float64; integers stay those of the first.

    It is changed in place. The mean of one model is that model, bit by bit. Raises ValueError without a classifier, or
    if one has other variables than the first.
    """
    if not classifiers:
        raise ValueError("classifiers: none to average; expected at least one")
    all_arrays = [variable_arrays(model_variables(one.model)) for one in classifiers]
    shapes = [{key: array.shape for key, array in arrays.items()} for arrays in all_arrays]
    if any(one != shapes[0] for one in shapes):
        raise ValueError("classifiers: their variables differ; a soup needs one architecture")
    mean = {}
    for key, first in all_arrays[0].items():
        if np.issubdtype(first.dtype, np.floating):
            stacked = [arrays[key].astype(np.float64) for arrays in all_arrays]
            mean[key] = np.mean(stacked, axis=0).astype(first.dtype)
        else:
            mean[key] = first
    restore_variables(model_variables(classifiers[0].model), mean)
    return classifiers[0]
