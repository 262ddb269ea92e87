"""Final recipes compared on the holdout: python -m benchmarks.recipes, on recorded trainings, within seconds.

The baseline of `experiments/lab_full.yaml`, which is trained as the shipped files do, against `experiments/
lab_recipes.yaml`: on the same folds of the same photos, judged by the same holdout. Scores are those of the weights
that a training keeps by the shipped rule, for single models, in the mean over the folds, and for the average of all
folds. Log-loss is after temperature scaling on the holdout itself, alike for all: retrain calibrates a model on its
out-of-fold photos. Errors of a gain: over folds, which share the holdout, and over the holdout's photos, in pairs.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.choice_rules import RULES, SHIPPED
from benchmarks.choice_tables import TABLES, Floats, Training, load_trainings
from benchmarks.harness import machine, table
from carcls.scoring.choices import scaled

RECIPES = TABLES / "recipes"
_HEADER = ("photos", "model", "accuracy", "log-loss", "gain, points", "± folds", "± photos", "gain, nats", "± photos")


def main() -> None:
    arguments = _parse()
    shipped = _by_photos([one for one in load_trainings(arguments.tables) if one.kind == "full"])
    print(machine())
    rows: list[tuple[object, ...]] = []
    for photos, ours in _by_photos(load_trainings(arguments.recipes)).items():
        theirs = shipped.get(photos, [])
        if [one.fold for one in theirs] != [one.fold for one in ours]:
            raise SystemExit(f"{photos}: {len(theirs)} trainings of lab_full, {len(ours)} of lab_recipes: record both")
        labels = ours[0].holdout_labels
        before, now = ([RULES[SHIPPED](one) for one in side] for side in (theirs, ours))
        rows += _compared(photos, "one", before, now, labels)
        averages = [np.mean(side, axis=0) for side in (before, now)]
        rows += _compared(photos, f"{len(ours)} averaged", averages[:1], averages[1:], labels)
    print(table(_HEADER, rows))


def _compared(
    photos: str, model: str, before: Sequence[Floats], now: Sequence[Floats], labels: NDArray[np.int64]
) -> list[tuple[object, ...]]:
    """Two rows: answers of the recipe before and of the one now, (photos, classes) each."""
    right, losses = (
        [np.array([per_photo(answer, labels) for answer in side]) for side in (before, now)]
        for per_photo in (_right, _losses)
    )
    over_folds = 100 * (right[1] - right[0]).mean(axis=1)
    points, nats = 100 * (right[1] - right[0]).mean(axis=0), (losses[0] - losses[1]).mean(axis=0)
    gained = (
        f"{points.mean():+.2f}",
        f"{over_folds.std(ddof=1) / np.sqrt(len(over_folds)):.2f}" if len(over_folds) > 1 else "",
        f"{points.std(ddof=1) / np.sqrt(len(points)):.2f}",
        f"{nats.mean():+.3f}",
        f"{nats.std(ddof=1) / np.sqrt(len(nats)):.3f}",
    )
    return [
        (photos, f"{model}, {name}", f"{100 * right[side].mean():.1f}", f"{losses[side].mean():.3f}", *figures)
        for side, (name, figures) in enumerate((("shipped", ("",) * 5), ("recipe", gained)))
    ]


def _losses(answer: Floats, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return scaled(answer.astype(np.float64), labels).losses


def _right(answer: Floats, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return (answer.argmax(axis=1) == labels).astype(np.float64)


def _by_photos(trainings: Sequence[Training]) -> Mapping[str, list[Training]]:
    """Trainings of each data set's first configuration."""
    groups: dict[str, list[Training]] = defaultdict(list)
    for training in trainings:
        if training.configuration == 0:
            groups[training.photos].append(training)
    return groups


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes", description=__doc__)
    parser.add_argument("--tables", type=Path, default=TABLES, help="tables of lab_full.yaml (%(default)s)")
    parser.add_argument("--recipes", type=Path, default=RECIPES, help="tables of lab_recipes.yaml (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
