"""Is what we report true? Searches replayed over recorded trainings: the reported expectation against the holdout.

One model: trials are drawn from one fold's trainings, the winner is chosen as a real search does it, and its reported
accuracy is held against its accuracy on the holdout. Averages: a configuration is chosen so on one fold, its trainings
on all folds are averaged, and the report is made from the out-of-fold photos. Beside it what was reported before: the
winner's raw validation accuracy. Bias in points with its standard error over cells (a fold of a data set); coverage of
the 95 % interval, widened by the holdout's own noise.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.choice_rules import shipped_choice
from benchmarks.choice_tables import TABLES, Training, load_trainings
from benchmarks.harness import cores, machine, table
from carcls.scoring.choices import Kept
from carcls.scoring.expectation import Expectation, Trained, of_average, of_winner, wilson

_SEED = 20_261_128
_TRIALS = (4, 8, 16)
_Z_95 = 1.959964
ONE, AVERAGE = "one model", "three folds averaged"
BEFORE = "raw validation, as reported before"

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


def main() -> None:
    arguments = _parse()
    cells = by_cell(load_trainings(arguments.tables))
    print(machine())
    tasks = [(cell, trials) for cell, pool in cells.items() for trials in _TRIALS if len(pool) >= trials]
    replay = partial(_replay_task, arguments.tables, arguments.searches)
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        told = [one for some in pool.map(replay, tasks) for one in some]
    print(f"{len(told) // 4:,} searches of {', '.join(map(str, _TRIALS))} trials in {len(cells)} cells\n")
    header = ("reported", "searches", "bias, points", "± s.e.", "mean |error|", "covered, %")
    print(table(header, list(rows(told))))


def by_cell(trainings: Sequence[Training]) -> Mapping[Cell, list[Training]]:
    cells: dict[Cell, list[Training]] = defaultdict(list)
    for training in trainings:
        cells[(training.photos, training.kind, training.fold)].append(training)
    return cells


def rows(told: Sequence[Told]) -> Iterable[tuple[object, ...]]:
    """One for each way of reporting."""
    ways: dict[str, list[Told]] = defaultdict(list)
    for one in told:
        ways[one.way].append(one)
    for way, some in ways.items():
        cells: dict[Cell, list[float]] = defaultdict(list)
        for one in some:
            cells[one.cell].append(one.error)
        means = 100 * np.array([np.mean(errors) for errors in cells.values()])
        error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else float("nan")
        size = 100 * float(np.mean([abs(one.error) for one in some]))
        covered = 100 * float(np.mean([one.is_covered for one in some]))
        yield (way, len(some), f"{means.mean():+.2f}", f"{error:.2f}", f"{size:.2f}", f"{covered:.1f}")


def _replay_task(tables: Path, searches: int, task: tuple[Cell, int]) -> list[Told]:
    cell, trials = task
    cells = by_cell(load_trainings(tables))
    return list(replay(cells, cell, trials, searches=searches))


def replay(cells: Mapping[Cell, Sequence[Training]], cell: Cell, trials: int, *, searches: int) -> Iterator[Told]:
    """Searches of one cell, each over `trials` trainings drawn without replacement."""
    pool = cells[cell]
    known = [_trained(training) for training in pool]
    rng = np.random.default_rng((_SEED, trials, cell[2]))
    for number in range(searches):
        drawn = rng.permutation(len(pool))[:trials]
        winner = min(drawn, key=lambda at: shipped_choice(pool[at].candidates).scaled.log_loss)
        training = pool[winner]
        kept = shipped_choice(training.candidates)
        holdout = training.holdout[kept.epoch]
        right = float((holdout.argmax(axis=1) == training.holdout_labels).mean())
        count, photos = len(training.validation_labels), len(training.holdout_labels)
        raw = max(one.accuracy for one in training.candidates)
        tell = partial(Told, cell=cell, holdout_photos=photos)
        expected = of_winner([known[at] for at in drawn], seed=number)
        yield tell(f"{ONE}: expectation", **_said(expected), holdout=right)
        yield tell(f"{ONE}: {BEFORE}", **_said(_raw(raw, count)), holdout=right)
        yield from _averaged(cells, training, tell, raw - expected.accuracy, seed=number)


def _averaged(
    cells: Mapping[Cell, Sequence[Training]], winner: Training, tell: partial, optimism: float, *, seed: int
) -> Iterator[Told]:
    """The winner's configuration on all folds, of which one took part in the choice: its luck counts by its share."""
    members = [
        one
        for (photos, kind, _), pool in cells.items()
        for one in pool
        if (photos, kind) == (winner.photos, winner.kind) and one.configuration == winner.configuration
    ]
    kept = [shipped_choice(one.candidates).epoch for one in members]
    hits = [
        one.validation[epoch - 1].argmax(axis=1) == one.validation_labels
        for one, epoch in zip(members, kept, strict=True)
    ]
    unseen = np.stack([one.holdout[epoch] for one, epoch in zip(members, kept, strict=True)])
    right = float((unseen.mean(axis=0).argmax(axis=1) == winner.holdout_labels).mean())
    share = len(winner.validation_labels) / sum(len(one.validation_labels) for one in members)
    own = shipped_choice(winner.candidates).accuracy - (max(one.accuracy for one in winner.candidates) - optimism)
    expected = of_average(np.concatenate(hits), unseen, seed=seed, correction=-share * own)
    yield tell(f"{AVERAGE}: expectation", **_said(expected), holdout=right)
    single = float(np.concatenate(hits).mean())
    yield tell(
        f"{AVERAGE}: out-of-fold accuracy of its members", **_said(_raw(single, sum(map(len, hits)))), holdout=right
    )


def _trained(training: Training) -> Trained:
    epochs = tuple(Kept(one.ends_stage, one.scaled.losses) for one in training.candidates)
    return Trained(epochs, training.validation.argmax(axis=2) == training.validation_labels)


def _raw(share: float, count: int) -> Expectation:
    return Expectation(share, *wilson(share, count))


def _said(expected: Expectation) -> dict[str, float]:
    return {"expected": expected.accuracy, "low": expected.low, "high": expected.high}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__)
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of recorded tables (%(default)s)")
    parser.add_argument("--searches", type=int, default=200, help="of each size in each cell (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
