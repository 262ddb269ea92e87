"""What a second and third final training bring: python -m benchmarks.runners_up, on recorded trainings, in a minute.

Each draw is a search: half of a data set's short recordings, ranked by one fold's validation photos. The winner's three
folds are averaged, as `carsearch retrain` does, and again with the three folds of other configurations. The same
holdout judges all. Log-loss is after temperature scaling on the holdout, alike for all. Draws share recordings and
photos, so errors are over data sets alone.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.choice_rules import RULES, SHIPPED
from benchmarks.choice_tables import TABLES, Floats, Training, load_trainings
from benchmarks.harness import machine, table
from carcls.scoring import metrics
from carcls.scoring.choices import scaled

FOLDS = 3
_HEADER = ("photos", "averaged", "accuracy", "gain, points", "log-loss", "gain, nats")
_FEWEST = 6
"""Configurations of a draw at least."""


@dataclass(frozen=True, eq=False)
class Configuration:
    """One configuration, trained on each fold."""

    backbone: object
    ranks: tuple[tuple[float, ...], ...]
    """By fold: of the best candidate, on that fold's validation photos; the larger, the better."""
    answer: Floats
    """(photos, classes): the mean of its folds for the holdout."""


def main() -> None:
    arguments = _parse()
    print(machine())
    rows: list[tuple[object, ...]] = []
    gains: dict[str, list[tuple[float, float]]] = {}
    trainings = [one for one in load_trainings(arguments.tables) if one.kind == "short"]
    for photos in dict.fromkeys(one.photos for one in trainings):
        ours = [one for one in trainings if one.photos == photos]
        told = compared(configurations(ours), ours[0].holdout_labels, draws=arguments.draws, seed=arguments.seed)
        rows += [(photos, name, *_cells(score, told["the winner"])) for name, score in told.items()]
        for name, (accuracy, loss) in told.items():
            base = told["the winner"]
            gains.setdefault(name, []).append((100 * (accuracy - base[0]), base[1] - loss))
    for name, found in gains.items():
        points, nats = np.array(found).T
        if name != "the winner" and len(found) > 1:
            rows.append((f"all {len(found)}", name, "", _with_error(points, 2), "", _with_error(nats, 3)))
    print(table(_HEADER, rows))


def configurations(trainings: Sequence[Training]) -> list[Configuration]:
    """Those of one data set that have all folds."""
    by_number: dict[int, list[Training]] = {}
    for one in trainings:
        by_number.setdefault(one.configuration, []).append(one)
    return [
        Configuration(
            backbone=folds[0].curve.params["train.backbone"],
            ranks=tuple(max(candidate.rank for candidate in one.candidates) for one in folds),
            answer=np.mean([RULES[SHIPPED](one) for one in folds], axis=0),
        )
        for folds in (sorted(several, key=lambda one: one.fold) for several in by_number.values())
        if len(folds) == FOLDS
    ]


def compared(
    every: Sequence[Configuration], labels: NDArray[np.int64], *, draws: int, seed: int
) -> Mapping[str, tuple[float, float]]:
    """Accuracy and log-loss on the holdout, in the mean over draws, by what is averaged. Pure."""
    random = np.random.default_rng(seed)
    size = min(len(every), max(_FEWEST, len(every) // 2))
    scores: dict[str, list[tuple[float, float]]] = {}
    for _ in range(draws):
        fold = int(random.integers(FOLDS))
        drawn = [every[place] for place in random.choice(len(every), size=size, replace=False)]
        for name, averaged in _choices(drawn, fold).items():
            answer = np.mean([one.answer for one in averaged], axis=0)
            scores.setdefault(name, []).append((metrics.accuracy(answer, labels), scaled(answer, labels).log_loss))
    return {
        name: (float(np.mean([a for a, _ in own])), float(np.mean([b for _, b in own]))) for name, own in scores.items()
    }


def _choices(drawn: Sequence[Configuration], fold: int) -> dict[str, list[Configuration]]:
    """What each rule averages; where a draw lacks another backbone or another of the same, the winner alone."""
    winner, *others = sorted(drawn, key=lambda one: one.ranks[fold], reverse=True)
    best_of = {one.backbone: one for one in reversed([winner, *others])}
    foreign = sorted((one for one in best_of.values() if one is not winner), key=lambda one: one.ranks[fold])[::-1]
    return {
        "the winner": [winner],
        "and the next of its backbone": [winner, *[one for one in others if one.backbone == winner.backbone][:1]],
        "and the best of another backbone": [winner, *foreign[:1]],
        "and the best of two others": [winner, *foreign[:2]],
        "and the next two of any": [winner, *others[:2]],
        **{f"and the best {one.backbone}": [winner, one] for one in foreign},
    }


def _cells(score: tuple[float, float], base: tuple[float, float]) -> tuple[object, ...]:
    gained = ("", "") if score is base else (f"{100 * (score[0] - base[0]):+.2f}", f"{base[1] - score[1]:+.3f}")
    return (f"{100 * score[0]:.1f}", gained[0], f"{score[1]:.3f}", gained[1])


def _with_error(values: NDArray[np.floating], digits: int) -> str:
    return f"{values.mean():+.{digits}f} ± {values.std(ddof=1) / len(values) ** 0.5:.{digits}f}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runners_up", description=__doc__)
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of recorded trainings (%(default)s)")
    parser.add_argument("--draws", type=int, default=200, help="searches of each data set (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
