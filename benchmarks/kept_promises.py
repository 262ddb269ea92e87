"""What averages gain, as a multiple of what they promise, measured on recorded trainings.

`carcls.scoring.averages` uses it. Every pair of a configuration's folds and all folds together are averaged, and the
gain over the members is read off the holdout, whose photos no member has seen.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from benchmarks.choice_rules import shipped_choice
from benchmarks.choice_tables import Training
from carcls.scoring.averages import promised
from carcls.scoring.choices import scaled
from carcls.scoring.gains import Normal, mean_gain

Configuration = tuple[str, str, int]
"""Data set, kind, number."""


def by_configuration(trainings: Sequence[Training]) -> Mapping[Configuration, list[Training]]:
    """The trainings of each configuration, one for each fold."""
    found: dict[Configuration, list[Training]] = defaultdict(list)
    for one in trainings:
        found[(one.photos, one.kind, one.configuration)].append(one)
    return found


def out_of_fold(members: Sequence[Training]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(photos, classes) of the weights that each training keeps, for the photos that validated it; their labels."""
    said = [one.validation[shipped_choice(one.candidates).epoch - 1] for one in members]
    return np.concatenate(said), np.concatenate([one.validation_labels for one in members])


def holdout_answers(members: Sequence[Training]) -> NDArray[np.float32]:
    """(K, photos, classes) of the weights that each training keeps."""
    return np.stack([one.holdout[shipped_choice(one.candidates).epoch] for one in members])


def kept_of(trainings: Sequence[Training]) -> Normal:
    """On one data set, as `averages.KEPT`. The standard error is over photos, which all averages share."""
    gains, pulls, promises = [], [], []
    for members in by_configuration(trainings).values():
        factor = scaled(*out_of_fold(members)).factor
        answers, labels = holdout_answers(members), members[0].holdout_labels
        for count in range(2, len(members) + 1):
            for some in combinations(range(len(members)), count):
                together = answers[list(some)]
                right = together.mean(axis=0).argmax(axis=1) == labels
                alone = (together.argmax(axis=2) == labels).mean(axis=0)
                gains.append(_log_odds(right.mean()) - _log_odds(alone.mean()))
                pulls.append(_pulls(right) - _pulls(alone))
                promises.append(promised(together, factor).mean)
    promise = float(np.mean(promises))
    error = mean_gain(np.mean(pulls, axis=0), np.arange(len(pulls[0]))).sd
    return Normal(float(np.mean(gains)) / promise, error / promise)


def prior_of(found: Sequence[Normal]) -> Normal:
    """For one more data set, from those measured; as `view_priors.priors_of` does it."""
    means = [one.mean for one in found]
    between = float(np.var(means, ddof=1)) if len(means) > 1 else 0.0
    measuring = float(np.mean([one.sd**2 for one in found]))
    return Normal(float(np.mean(means)), sqrt(max(between, measuring) * (1.0 + 1.0 / len(means))))


def _log_odds(share: float) -> float:
    return log(share / (1.0 - share))


def _pulls(hits: NDArray[np.floating] | NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each photo on the log-odds of the mean, to first order."""
    share = hits.mean()
    return hits / (share * (1.0 - share))
