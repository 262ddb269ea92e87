"""The expectation of averages of two configurations against the holdout, photos exchanged; see `benchmarks.truth`.

An ensemble of final trainings is told so. Half of the holdout, each photo answered by one model of each configuration,
tells of the other half. What is known beforehand of averages comes from the other data sets.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks.choice_tables import Training
from benchmarks.kept_promises import pairs
from benchmarks.truth_replay import Exchanged, exchanged, of_exchange, priors_without
from carcls.scoring.gains import Normal

HEADER = ("two configurations averaged", "pairs", "bias, points", "of one model of each", "covered, %")


def pair_rows(trainings: Sequence[Training], kept: Mapping[str, Normal]) -> Iterator[tuple[object, ...]]:
    """One for each data set, and their mean with its error over data sets. kept: of `kept_of_several`, by data set."""
    found = {
        name: [
            exchanged(one.members, one.holdout_labels, prior)
            for one in pairs([one for one in trainings if one.photos == name])
        ]
        for name, prior in priors_without(kept).items()
    }
    measured = {name: _measured(name, [one for each in some for one in each]) for name, some in found.items()}
    for name, (bias, single, covered) in measured.items():
        yield name, len(found[name]), f"{100 * bias:+.2f}", f"{100 * single:+.2f}", f"{100 * covered:.1f}"
    values = np.array(list(measured.values()))
    bias, single, covered = values.mean(axis=0)
    error = values[:, 0].std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    together = f"{100 * bias:+.2f} ± {100 * error:.2f}"
    yield "mean", sum(map(len, found.values())), together, f"{100 * single:+.2f}", f"{100 * covered:.1f}"


def _measured(name: str, found: Sequence[Exchanged]) -> tuple[float, float, float]:
    """(bias of the expectation, of the members' accuracy, share within the interval and the holdout's noise)."""
    told = [of_exchange(HEADER[0], (name, "", 0), one, 0.0) for one in found]
    singles = [one.told.single - one.holdout for one in found]
    bias, covered = np.mean([one.error for one in told]), np.mean([one.is_covered for one in told])
    return float(bias), float(np.mean(singles)), float(covered)
