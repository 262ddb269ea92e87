"""By how much the gain of averaging exceeds what disagreement says of it, measured on recorded trainings.

`carcls.scoring.averages` corrects for it. Every pair of a configuration's folds and all folds together are averaged,
and the gain over the members is read off the holdout, whose photos no member has seen.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from benchmarks.choice_rules import shipped_choice
from benchmarks.choice_tables import Training
from carcls.scoring.averages import ensemble_gain, of_shortfall
from carcls.scoring.gains import Normal, mean_gain

Configuration = tuple[str, str, int]
"""Data set, kind, number."""


def by_configuration(trainings: Sequence[Training]) -> Mapping[Configuration, list[Training]]:
    """The trainings of each configuration, one for each fold."""
    found: dict[Configuration, list[Training]] = defaultdict(list)
    for one in trainings:
        found[(one.photos, one.kind, one.configuration)].append(one)
    return found


def holdout_answers(members: Sequence[Training]) -> NDArray[np.float32]:
    """(K, photos, classes) of the weights that each training keeps."""
    return np.stack([one.holdout[shipped_choice(one.candidates).epoch] for one in members])


def gained(members: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(photos,) whether the average of (K, photos, classes) is right, less the share of its members that are."""
    return (members.mean(axis=0).argmax(axis=1) == labels) - (members.argmax(axis=2) == labels).mean(axis=0)


def shortfall_of(trainings: Sequence[Training]) -> Normal:
    """On one data set, in the units of `SHORTFALL`. The standard error is over photos, which all averages share."""
    gains, said, units = [], [], []
    for members in by_configuration(trainings).values():
        answers, labels = holdout_answers(members), members[0].holdout_labels
        for count in range(2, len(members) + 1):
            for some in combinations(range(len(members)), count):
                together = answers[list(some)]
                single = float((together.argmax(axis=2) == labels).mean())
                gains.append(gained(together, labels))
                said.append(ensemble_gain(together, single))
                units.append(of_shortfall(count) * said[-1])
    by_photo = mean_gain(np.mean(gains, axis=0), np.arange(len(gains[0])))
    unit = float(np.mean(units))
    return Normal((by_photo.mean - float(np.mean(said))) / unit, by_photo.sd / unit)


def shortfall_prior(found: Sequence[Normal]) -> Normal:
    """For one more data set, from those measured; as `view_priors.priors_of` does it."""
    means = [one.mean for one in found]
    between = float(np.var(means, ddof=1)) if len(means) > 1 else 0.0
    measuring = float(np.mean([one.sd**2 for one in found]))
    return Normal(float(np.mean(means)), sqrt(max(between, measuring) * (1.0 + 1.0 / len(means))))
