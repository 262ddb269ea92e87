"""What averages gain, as a multiple of what they promise, measured on recorded trainings.

`carcls.scoring.averages` uses it. Every pair of a configuration's folds and all folds together are averaged, and the
gain over the members is read off the holdout, whose photos no member has seen. The same of all folds of every two
configurations in equal shares, where a member averages one model of each.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from benchmarks.choice_rules import shipped_choice
from benchmarks.choice_tables import Training
from carcls.scoring.averages import members_of_several, promised
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
    found = []
    for members in by_configuration(trainings).values():
        factor = scaled(*out_of_fold(members)).factor
        answers, labels = holdout_answers(members), members[0].holdout_labels
        for count in range(2, len(members) + 1):
            for some in combinations(range(len(members)), count):
                found.append(_averaged(answers[list(some)], labels, factor))
    return _kept(found)


def kept_of_several(trainings: Sequence[Training]) -> Normal:
    """On one data set, as `averages.KEPT_OF_SEVERAL`, by its `pairs`."""
    return _kept([_averaged(one.members, one.holdout_labels, one.factor) for one in pairs(trainings)])


@dataclass(frozen=True, eq=False)
class Pair:
    """All folds of two configurations in equal shares."""

    members: NDArray[np.floating]
    """(K, holdout photos, classes) of one model of each."""
    holdout_labels: NDArray[np.int64]
    factor: float
    """Fitted to out-of-fold photos, each by one model of each."""


def pairs(trainings: Sequence[Training]) -> Iterator[Pair]:
    """Of every two configurations of one data set that were trained on the same folds."""
    configurations = {
        key: sorted(members, key=lambda one: one.fold) for key, members in by_configuration(trainings).items()
    }
    told = {key: out_of_fold(members) for key, members in configurations.items()}
    answers = {key: holdout_answers(members) for key, members in configurations.items()}
    for first, second in combinations(configurations, 2):
        (said, labels), (other, other_labels) = told[first], told[second]
        if first[1] == second[1] and np.array_equal(labels, other_labels):
            yield Pair(
                members_of_several([answers[first], answers[second]], [0.5, 0.5]),
                configurations[first][0].holdout_labels,
                scaled((said + other) / 2, labels).factor,
            )


@dataclass(frozen=True, eq=False)
class _Averaged:
    """One average of several members, on the holdout."""

    gain: float
    """Over its members, in log-odds."""
    pulls: NDArray[np.float64]
    """Of each photo on that gain, to first order."""
    promise: float


def _averaged(members: NDArray[np.floating], labels: NDArray[np.int64], factor: float) -> _Averaged:
    right = members.mean(axis=0).argmax(axis=1) == labels
    alone = (members.argmax(axis=2) == labels).mean(axis=0)
    gain = _log_odds(right.mean()) - _log_odds(alone.mean())
    return _Averaged(gain, _pulls(right) - _pulls(alone), promised(members, factor).mean)


def _kept(found: Sequence[_Averaged]) -> Normal:
    promise = float(np.mean([one.promise for one in found]))
    pulls = np.mean([one.pulls for one in found], axis=0)
    error = mean_gain(pulls, np.arange(len(pulls))).sd
    return Normal(float(np.mean([one.gain for one in found])) / promise, error / promise)


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
