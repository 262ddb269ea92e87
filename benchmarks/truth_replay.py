"""Searches replayed over recorded trainings: what is told of each winner, and what the holdout says of it.

What does not depend on a search is computed once for each training, and samples of photos are shared by all searches of
a cell. The rules are the program's own. What is known beforehand of averages comes from the other data sets.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from benchmarks.choice_rules import shipped_choice
from benchmarks.choice_tables import Training
from benchmarks.kept_promises import (
    Configuration,
    by_configuration,
    holdout_answers,
    kept_of,
    out_of_fold,
    prior_of,
)
from carcls.scoring.averages import KEPT, AverageGain, average_gain, corrected
from carcls.scoring.choices import Kept
from carcls.scoring.expectation import (
    Z_95,
    Bags,
    Expectation,
    OutOfBag,
    Trained,
    bags,
    luck,
    of_best,
    out_of_bag,
    wilson,
)
from carcls.scoring.gains import Normal
from carcls.scoring.metrics import accuracy

SEED = 20_261_128
ONE, AVERAGE = "one model", "three folds averaged"
BEFORE = "raw validation, as reported before"
OUT_OF_FOLD = "out-of-fold accuracy of its members"
GAIN = "gain over its members"
EXCHANGED = "expectation, photos exchanged"
_EXCHANGES = 20

Cell = tuple[str, str, int]
"""Data set, kind, fold."""


@dataclass(frozen=True, slots=True)
class Told:
    """One search: what was said of its winner, and what the holdout says."""

    way: str
    cell: Cell
    expected: float
    low: float
    high: float
    holdout: float
    holdout_variance: float
    """By the number of holdout photos."""
    variance: float
    """Of the error, by the number of photos behind both sides; all searches of a data set share these photos."""

    @property
    def error(self) -> float:
        return self.expected - self.holdout

    @property
    def is_covered(self) -> bool:
        """Within the interval, its half-width and the holdout's own noise added in squares."""
        half = (self.high - self.expected) if self.holdout > self.expected else (self.expected - self.low)
        return abs(self.error) <= np.hypot(half, Z_95 * np.sqrt(max(self.holdout_variance, 1e-12)))


def by_cell(trainings: Sequence[Training]) -> Mapping[Cell, list[Training]]:
    cells: dict[Cell, list[Training]] = defaultdict(list)
    for training in trainings:
        cells[(training.photos, training.kind, training.fold)].append(training)
    return cells


@dataclass(frozen=True, slots=True)
class Averaged:
    """The trainings of one configuration on all folds, averaged."""

    told: AverageGain
    holdout: float
    members_holdout: float
    """Mean of its members."""
    gained_variance: float
    """Of the difference, by the number of holdout photos."""
    exchanged: tuple["Exchanged", ...]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One half of the holdout told of the other.

    No member has seen either, so that photos of the first, each answered by one member, are as good as out-of-fold
    ones. Each half tells of the other in turn, so that neither is easier.
    """

    told: AverageGain
    holdout: float
    """Of the other half."""
    photos: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """One training as searches meet it, all that does not depend on the search done once."""

    scaled_log_loss: float
    """Of the weights it keeps, by which the winner is chosen."""
    validated: float
    """Accuracy of these weights on validation."""
    raw: float
    """The best accuracy of any epoch."""
    holdout: float
    out_of_bag: OutOfBag
    average: Averaged


@dataclass(frozen=True, slots=True)
class Replayed:
    """A cell's trainings."""

    candidates: tuple[Candidate, ...]
    photos: int
    fold_photos: int
    """Of all folds together."""
    holdout_photos: int


def replays(cells: Mapping[Cell, Sequence[Training]]) -> Mapping[Cell, Replayed]:
    """What searches of each cell need. Samples of photos are shared by all searches of a cell."""
    trainings = [training for pool in cells.values() for training in pool]
    priors = priors_without(kept_promises(trainings))
    averages = {key: _averaged(members, priors[key[0]]) for key, members in by_configuration(trainings).items()}
    return {cell: _replayed(cell, pool, averages) for cell, pool in cells.items()}


def kept_promises(
    trainings: Sequence[Training], rule: Callable[[Sequence[Training]], Normal] = kept_of
) -> Mapping[str, Normal]:
    """By data set. rule: `kept_of` or `kept_of_several`."""
    names = sorted({one.photos for one in trainings})
    return {name: rule([one for one in trainings if one.photos == name]) for name in names}


def priors_without(measured: Mapping[str, Normal]) -> Mapping[str, Normal]:
    """For each data set from the others alone; of a single one what is shipped."""
    if len(measured) == 1:
        return dict.fromkeys(measured, KEPT)
    return {name: prior_of([one for other, one in measured.items() if other != name]) for name in measured}


def _replayed(cell: Cell, pool: Sequence[Training], averages: Mapping[Configuration, Averaged]) -> Replayed:
    first = pool[0]
    samples = bags(len(first.validation_labels), seed=SEED + cell[2])
    candidates = tuple(_candidate(one, samples, averages[(*cell[:2], one.configuration)]) for one in pool)
    fold_photos = candidates[0].average.told.photos
    return Replayed(candidates, len(first.validation_labels), fold_photos, len(first.holdout_labels))


def replay(cells: Mapping[Cell, Replayed], cell: Cell, trials: int, *, searches: int) -> Iterator[Told]:
    """Searches of one cell, each over `trials` trainings drawn without replacement; six reports of each."""
    replayed = cells[cell]
    pool, count = replayed.candidates, replayed.photos
    share = count / replayed.fold_photos
    rng = np.random.default_rng((SEED, trials, cell[2]))
    for number in range(searches):
        drawn = rng.permutation(len(pool))[:trials]
        winner = min((pool[at] for at in drawn), key=lambda one: one.scaled_log_loss)
        average, told = winner.average, winner.average.told
        expected = of_best([pool[at].out_of_bag for at in drawn], count)
        # As `search.final.expected_accuracy.of_folds` corrects it, without views to choose.
        together = corrected(told, -share * luck(winner.validated, expected))
        for way, said, holdout in (
            (f"{ONE}: expectation", expected, winner.holdout),
            (f"{ONE}: {BEFORE}", _raw(winner.raw, count), winner.holdout),
            (f"{AVERAGE}: expectation", together, average.holdout),
            (f"{AVERAGE}: {OUT_OF_FOLD}", _raw(told.single, replayed.fold_photos), average.holdout),
        ):
            yield _of_accuracy(way, cell, said, holdout, replayed)
        yield _of_gain(cell, average)
        yield _of_exchange(cell, average, number)


def _of_accuracy(way: str, cell: Cell, said: Expectation, holdout: float, replayed: Replayed) -> Told:
    spread = holdout * (1 - holdout)
    noise = spread / replayed.holdout_photos
    variance = noise + spread / replayed.fold_photos
    return Told(way, cell, said.accuracy, said.low, said.high, holdout, noise, variance)


def _of_gain(cell: Cell, average: Averaged) -> Told:
    """Told of the photos on which it is measured: the members' accuracy there is taken as known."""
    gain = replace(average.told, single=average.members_holdout)
    said, noise = corrected(replace(gain, photos=10**9), 0.0), average.gained_variance
    told = [one - average.members_holdout for one in (said.accuracy, said.low, said.high)]
    return Told(f"{AVERAGE}: {GAIN}", cell, *told, average.holdout - average.members_holdout, noise, noise)


def _of_exchange(cell: Cell, average: Averaged, number: int) -> Told:
    one = average.exchanged[number % _EXCHANGES]
    return of_exchange(f"{AVERAGE}: {EXCHANGED}", cell, one, average.gained_variance)


def of_exchange(way: str, cell: Cell, one: Exchanged, variance: float) -> Told:
    """What one half of the holdout tells of the other. variance: see `Told`."""
    said, noise = corrected(one.told, 0.0), one.holdout * (1 - one.holdout) / one.photos
    return Told(way, cell, said.accuracy, said.low, said.high, one.holdout, noise, variance)


def _candidate(training: Training, samples: Bags, average: Averaged) -> Candidate:
    kept = shipped_choice(training.candidates)
    return Candidate(
        scaled_log_loss=kept.scaled.log_loss,
        validated=kept.accuracy,
        raw=max(one.accuracy for one in training.candidates),
        holdout=accuracy(training.holdout[kept.epoch], training.holdout_labels),
        out_of_bag=out_of_bag(_trained(training), samples),
        average=average,
    )


def _averaged(members: Sequence[Training], prior: Normal) -> Averaged:
    """What is told of the average of one configuration's trainings, and what the holdout says."""
    unseen, labels = holdout_answers(members), members[0].holdout_labels
    together, alone = unseen.mean(axis=0).argmax(axis=1) == labels, (unseen.argmax(axis=2) == labels).mean(axis=0)
    return Averaged(
        average_gain(*out_of_fold(members), unseen, kept=prior),
        holdout=float(together.mean()),
        members_holdout=float(alone.mean()),
        gained_variance=float((together - alone).var(ddof=1)) / len(labels),
        exchanged=exchanged(unseen, labels, prior),
    )


def exchanged(unseen: NDArray[np.floating], labels: NDArray[np.int64], prior: Normal) -> tuple["Exchanged", ...]:
    """unseen: (K, photos, classes) of the holdout."""
    return tuple(
        _exchanged(unseen, labels, prior, known, others)
        for number in range(_EXCHANGES // 2)
        for known, others in permutations(_halves(len(labels), number))
    )


def _halves(count: int, number: int) -> list[NDArray[np.int64]]:
    return np.array_split(np.random.default_rng((SEED, number)).permutation(count), 2)


def _exchanged(
    unseen: NDArray[np.floating],
    labels: NDArray[np.int64],
    prior: Normal,
    known: NDArray[np.int64],
    others: NDArray[np.int64],
) -> Exchanged:
    said = unseen[np.arange(len(known)) % len(unseen), known]
    told = average_gain(said, labels[known], unseen[:, others], kept=prior)
    return Exchanged(told, accuracy(unseen[:, others].mean(axis=0), labels[others]), len(others))


def _trained(training: Training) -> Trained:
    """As `search.study.expected` reads a trial: its stages' ends, of which one is kept."""
    ends = [one for one in training.candidates if one.ends_stage]
    hits = training.validation.argmax(axis=2) == training.validation_labels
    return Trained(tuple(Kept(True, one.scaled.losses) for one in ends), hits[[one.epoch - 1 for one in ends]])


def _raw(share: float, count: int) -> Expectation:
    return Expectation(share, *wilson(share, count))
