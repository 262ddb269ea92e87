"""Searches replayed over recorded trainings: what is told of each winner, and what the holdout says of it.

What does not depend on a search is computed once for each training, and bootstrap samples are shared by all searches of
a cell. The rules are the program's own.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.choice_rules import shipped_choice
from benchmarks.choice_tables import Training
from carcls.scoring.choices import Kept
from carcls.scoring.expectation import (
    AverageGain,
    Bags,
    Expectation,
    OutOfBag,
    Trained,
    average_gain,
    bags,
    corrected,
    luck,
    of_best,
    out_of_bag,
    wilson,
)
from carcls.scoring.metrics import accuracy

SEED = 20_261_128
_Z_95 = 1.959964
ONE, AVERAGE = "one model", "three folds averaged"
BEFORE = "raw validation, as reported before"
OUT_OF_FOLD = "out-of-fold accuracy of its members"

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
    holdout_photos: int

    @property
    def error(self) -> float:
        return self.expected - self.holdout

    @property
    def is_covered(self) -> bool:
        """Within the interval, its half-width and the holdout's own noise added in squares."""
        half = (self.high - self.expected) if self.holdout > self.expected else (self.expected - self.low)
        noise = _Z_95 * np.sqrt(max(self.holdout * (1 - self.holdout), 1e-9) / self.holdout_photos)
        return abs(self.error) <= np.hypot(half, noise)


def by_cell(trainings: Sequence[Training]) -> Mapping[Cell, list[Training]]:
    cells: dict[Cell, list[Training]] = defaultdict(list)
    for training in trainings:
        cells[(training.photos, training.kind, training.fold)].append(training)
    return cells


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
    average: AverageGain
    """Of its configuration on all folds."""
    average_holdout: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """A cell's trainings."""

    candidates: tuple[Candidate, ...]
    photos: int
    fold_photos: int
    """Of all folds together."""
    holdout_photos: int


def replays(cells: Mapping[Cell, Sequence[Training]]) -> Mapping[Cell, Replayed]:
    """What searches of each cell need. Bootstrap samples are shared by all searches of a cell."""
    averages: dict[tuple[str, str, int], tuple[AverageGain, float, int]] = {}
    found = {}
    for cell, pool in cells.items():
        samples = bags(len(pool[0].validation_labels), seed=SEED + cell[2])
        candidates = []
        for training in pool:
            key = (training.photos, training.kind, training.configuration)
            if key not in averages:
                averages[key] = _average(_members(cells, training))
            candidates.append(_candidate(training, samples, *averages[key][:2]))
        first = pool[0]
        photos = averages[(first.photos, first.kind, first.configuration)][2]
        found[cell] = Replayed(tuple(candidates), len(first.validation_labels), photos, len(first.holdout_labels))
    return found


def replay(cells: Mapping[Cell, Replayed], cell: Cell, trials: int, *, searches: int) -> Iterator[Told]:
    """Searches of one cell, each over `trials` trainings drawn without replacement; four reports of each."""
    replayed = cells[cell]
    pool, count = replayed.candidates, replayed.photos
    share = count / replayed.fold_photos
    rng = np.random.default_rng((SEED, trials, cell[2]))
    for _ in range(searches):
        drawn = rng.permutation(len(pool))[:trials]
        winner = min((pool[at] for at in drawn), key=lambda one: one.scaled_log_loss)
        expected = of_best([pool[at].out_of_bag for at in drawn], count)
        # As `search.final.expected_accuracy.of_folds` corrects it, without views to choose.
        average = corrected(winner.average, -share * luck(winner.validated, expected))
        tell = partial(Told, cell=cell, holdout_photos=replayed.holdout_photos)
        yield tell(f"{ONE}: expectation", **_said(expected), holdout=winner.holdout)
        yield tell(f"{ONE}: {BEFORE}", **_said(_raw(winner.raw, count)), holdout=winner.holdout)
        yield tell(f"{AVERAGE}: expectation", **_said(average), holdout=winner.average_holdout)
        single = _raw(winner.average.single, replayed.fold_photos)
        yield tell(f"{AVERAGE}: {OUT_OF_FOLD}", **_said(single), holdout=winner.average_holdout)


def _candidate(training: Training, samples: Bags, average: AverageGain, average_holdout: float) -> Candidate:
    kept = shipped_choice(training.candidates)
    return Candidate(
        scaled_log_loss=kept.scaled.log_loss,
        validated=kept.accuracy,
        raw=max(one.accuracy for one in training.candidates),
        holdout=accuracy(training.holdout[kept.epoch], training.holdout_labels),
        out_of_bag=out_of_bag(_trained(training), samples),
        average=average,
        average_holdout=average_holdout,
    )


def _members(cells: Mapping[Cell, Sequence[Training]], training: Training) -> list[Training]:
    """Its configuration on all folds."""
    return [
        one
        for (photos, kind, _), pool in cells.items()
        for one in pool
        if (photos, kind, one.configuration) == (training.photos, training.kind, training.configuration)
    ]


def _average(members: Sequence[Training]) -> tuple[AverageGain, float, int]:
    """What averaging them gains as it is told, the average's holdout accuracy, and the photos of all folds."""
    kept = [shipped_choice(one.candidates).epoch for one in members]
    hits = np.concatenate(
        [
            one.validation[epoch - 1].argmax(axis=1) == one.validation_labels
            for one, epoch in zip(members, kept, strict=True)
        ]
    )
    unseen = np.stack([one.holdout[epoch] for one, epoch in zip(members, kept, strict=True)])
    return (
        average_gain(hits, unseen, seed=SEED),
        accuracy(unseen.mean(axis=0), members[0].holdout_labels),
        len(hits),
    )


def _trained(training: Training) -> Trained:
    """As `search.study.expected` reads a trial: its stages' ends, of which one is kept."""
    ends = [one for one in training.candidates if one.ends_stage]
    hits = training.validation.argmax(axis=2) == training.validation_labels
    return Trained(tuple(Kept(True, one.scaled.losses) for one in ends), hits[[one.epoch - 1 for one in ends]])


def _raw(share: float, count: int) -> Expectation:
    return Expectation(share, *wilson(share, count))


def _said(expected: Expectation) -> dict[str, float]:
    return {"expected": expected.accuracy, "low": expected.low, "high": expected.high}
