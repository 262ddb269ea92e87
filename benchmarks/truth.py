"""Is what we report true? Searches replayed over recorded trainings: the reported expectation against the holdout.

One model: trials are drawn from one fold's trainings, the winner is chosen as a real search does it, and its reported
accuracy is held against its accuracy on the holdout. Averages: a configuration is chosen so on one fold, its trainings
on all folds are averaged, and the report is made from the out-of-fold photos. Beside it what was reported before: the
winner's raw validation accuracy. Bias in points with three standard errors: over splits (a fold of a data set), over
data sets, and by the number of photos. The last is the one to believe: all folds of a data set are averaged over the
same photos, and judged by the same holdout, so that more folds and searches do not make the difference between these
two sets of photos any surer. Coverage of the 95 % interval, widened by the holdout's own noise. Two rows are free of
that difference: the gain of an average over its members, told and measured on the same photos; and the expectation of
averages where one random half of the holdout plays the out-of-fold photos and the other half judges. The rules are the
program's own; what is known beforehand of averages comes from the other data sets.

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
from benchmarks.kept_promises import kept_of_several, prior_of
from benchmarks.truth_pairs import HEADER as HEADER_OF_PAIRS
from benchmarks.truth_pairs import pair_rows
from benchmarks.truth_replay import Told, by_cell, kept_promises, replay, replays

_TRIALS = (4, 8, 16)
_HEADER = (
    "reported",
    "searches",
    "bias, points",
    "± splits",
    "± data sets",
    "± photos",
    "mean |error|",
    "covered, %",
)


def main() -> None:
    arguments = _parse()
    trainings = load_trainings(arguments.tables)
    cells = by_cell(trainings)
    print(machine())
    kept, of_several = kept_promises(trainings), kept_promises(trainings, kept_of_several)
    for of, measured in (("averages", kept), ("averages of two configurations", of_several)):
        for name, one in (*measured.items(), ("prior", prior_of(list(measured.values())))):
            print(f"{of} gain, in log-odds, as a multiple of what they promise, {name}: {one.mean:.2f} ± {one.sd:.2f}")
    print(f"\n{table(HEADER_OF_PAIRS, list(pair_rows(trainings, of_several)))}\n")
    replayed = replays(cells)
    told = [
        one
        for cell, pool in cells.items()
        for trials in _TRIALS
        if len(pool) >= trials
        for one in replay(replayed, cell, trials, searches=arguments.searches)
    ]
    used = len({one.cell for one in told})
    print(f"{len(told) // 6:,} searches of {', '.join(map(str, _TRIALS))} trials in {used} cells")
    print(f"\n{table(_HEADER, list(rows(told)))}")
    for data_set in sorted({one.cell[0] for one in told}):
        some = [one for one in told if one.cell[0] == data_set]
        print(f"\n{data_set}\n{table(_HEADER, list(rows(some)))}")


def rows(told: Sequence[Told]) -> Iterable[tuple[object, ...]]:
    """One for each way of reporting."""
    ways: dict[str, list[Told]] = defaultdict(list)
    for one in told:
        ways[one.way].append(one)
    for way, some in ways.items():
        bias, *errors = _bias(some)
        size = 100 * float(np.mean([abs(one.error) for one in some]))
        covered = 100 * float(np.mean([one.is_covered for one in some]))
        yield (way, len(some), f"{bias:+.2f}", *(f"{one:.2f}" for one in errors), f"{size:.2f}", f"{covered:.1f}")


def _bias(told: Sequence[Told]) -> tuple[float, float, float, float]:
    """Mean over data sets, and its standard errors over splits, over data sets and by photos; in points.

    Searches of one split share its photos, so that more of them make nothing surer. Short and full trainings of a split
    share them too.
    """
    splits: dict[str, dict[int, list[Told]]] = defaultdict(lambda: defaultdict(list))
    for one in told:
        splits[one.cell[0]][one.cell[2]].append(one)
    means = [
        [100 * float(np.mean([one.error for one in some])) for some in folds.values()] for folds in splits.values()
    ]
    by_set = [float(np.mean(some)) for some in means]
    variances = [np.mean([one.variance for some in folds.values() for one in some]) for folds in splits.values()]
    by_photos = 100 * float(np.sum(variances)) ** 0.5 / len(variances)
    return float(np.mean(by_set)), _error([mean for some in means for mean in some]), _error(by_set), by_photos


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
