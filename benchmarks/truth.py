"""Is what we report true? Searches replayed over recorded trainings: the reported expectation against the holdout.

One model: trials are drawn from one fold's trainings, the winner is chosen as a real search does it, and its reported
accuracy is held against its accuracy on the holdout. Averages: a configuration is chosen so on one fold, its trainings
on all folds are averaged, and the report is made from the out-of-fold photos. Beside it what was reported before: the
winner's raw validation accuracy. Bias in points with its standard errors over splits (a fold of a data set) and over
data sets; coverage of the 95 % interval, widened by the holdout's own noise. The rules are the program's own.

What does not depend on a search is computed once for each training. A thousand searches of each size in each cell take
about a minute on one core.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.choice_tables import TABLES, load_trainings
from benchmarks.harness import machine, table
from benchmarks.truth_replay import Told, by_cell, replay, replays

_TRIALS = (4, 8, 16)


def main() -> None:
    arguments = _parse()
    cells = by_cell(load_trainings(arguments.tables))
    print(machine())
    replayed = replays(cells)
    told = [
        one
        for cell, pool in cells.items()
        for trials in _TRIALS
        if len(pool) >= trials
        for one in replay(replayed, cell, trials, searches=arguments.searches)
    ]
    used = len({one.cell for one in told})
    print(f"{len(told) // 4:,} searches of {', '.join(map(str, _TRIALS))} trials in {used} cells")
    header = ("reported", "searches", "bias, points", "± splits", "± data sets", "mean |error|", "covered, %")
    print(f"\n{table(header, list(rows(told)))}")
    for data_set in sorted({one.cell[0] for one in told}):
        some = [one for one in told if one.cell[0] == data_set]
        print(f"\n{data_set}\n{table(header, list(rows(some)))}")


def rows(told: Sequence[Told]) -> Iterable[tuple[object, ...]]:
    """One for each way of reporting."""
    ways: dict[str, list[Told]] = defaultdict(list)
    for one in told:
        ways[one.way].append(one)
    for way, some in ways.items():
        bias, by_split, by_set = _bias(some)
        size = 100 * float(np.mean([abs(one.error) for one in some]))
        covered = 100 * float(np.mean([one.is_covered for one in some]))
        yield (way, len(some), f"{bias:+.2f}", f"{by_split:.2f}", f"{by_set:.2f}", f"{size:.2f}", f"{covered:.1f}")


def _bias(told: Sequence[Told]) -> tuple[float, float, float]:
    """Mean over splits, and its standard errors over splits and over data sets; in points.

    Searches of one split share its photos, so that more of them make nothing surer. Short and full trainings of a split
    share them too.
    """
    splits: dict[tuple[str, int], list[float]] = defaultdict(list)
    for one in told:
        splits[(one.cell[0], one.cell[2])].append(one.error)
    means = {split: 100 * float(np.mean(errors)) for split, errors in splits.items()}
    data_sets = [
        float(np.mean([mean for split, mean in means.items() if split[0] == data_set]))
        for data_set in dict.fromkeys(split[0] for split in means)
    ]
    return float(np.mean(list(means.values()))), _error(list(means.values())), _error(data_sets)


def _error(values: Sequence[float]) -> float:
    """Standard error of the mean; NaN of one value."""
    return float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__)
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of recorded tables (%(default)s)")
    parser.add_argument("--searches", type=int, default=1_000, help="of each size in each cell (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
