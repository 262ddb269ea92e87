"""Which weights of a training, and which training of a search: rules replayed over recorded trainings.

Every training was validated on its fold and scored on a holdout that chose nothing. A rule sees validation alone; what
it chose is scored on the holdout: one model, and the average of the models that one configuration gave on two folds.
Gains are over today's rule, on the same trainings. A cell is one fold of one data set; standard errors are over cells,
for photos and configurations within a cell share their luck.

Rotation: a rule is chosen on all data sets but one, by its gain in log-loss (the simplest within one standard error of
the best), and its gain is read off the one left out.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.choice_picks import pick_rows
from benchmarks.choice_rules import RULES, SHIPPED, TODAY
from benchmarks.choice_tables import TABLES, Floats, Training, holdout_scores, load_trainings
from benchmarks.harness import machine, table

SINGLE, PAIR = "one model", "two folds averaged"


@dataclass(frozen=True, slots=True)
class Gain:
    """Over today's rule, mean and standard error over cells; positive is better."""

    accuracy: float
    accuracy_error: float
    log_loss: float
    log_loss_error: float

    @property
    def is_clear(self) -> bool:
        """The lower 95 % bound of the gain in log-loss is above 0."""
        return self.log_loss - 1.96 * self.log_loss_error > 0.0


def main() -> None:
    arguments = _parse()
    trainings = load_trainings(arguments.tables)
    better = better_half(trainings)
    print(f"{machine()}\n{_counts(trainings)}")
    for title, some in (("all configurations", trainings), ("the better half by validation", better)):
        scored = {name: scores(some, name) for name in RULES}
        for handed_over in (SINGLE, PAIR):
            print(f"\n{title}, {handed_over}: holdout accuracy in points and log-loss, gains over today's rule")
            print(table(_HEADER, list(_rows(scored, handed_over))))
            print("\n".join(_rotation_lines(scored, handed_over)))
    for line in pick_rows(trainings):
        print(line)


_HEADER = ("rule", "accuracy", "log-loss", "gain, points", "± s.e.", "gain, nats", "± s.e. ", "clear")

Cell = tuple[str, str]
"""Data set, and fold or folds."""
Scores = Mapping[str, Mapping[Cell, tuple[float, float]]]
"""By what is handed over, then by cell: mean holdout accuracy and log-loss."""


def scores(trainings: Sequence[Training], rule: str) -> Scores:
    """What a rule's choices reach in each cell."""
    single: dict[Cell, list[tuple[float, float]]] = defaultdict(list)
    pair: dict[Cell, list[tuple[float, float]]] = defaultdict(list)
    for members in _by_configuration(trainings):
        labels = members[0].holdout_labels
        answers = {training.fold: RULES[rule](training) for training in members}
        for fold, answer in answers.items():
            single[(members[0].photos, str(fold))].append(holdout_scores(answer, labels))
        for folds in combinations(sorted(answers), 2):
            mean: Floats = np.mean([answers[fold] for fold in folds], axis=0)
            pair[(members[0].photos, "+".join(map(str, folds)))].append(holdout_scores(mean, labels))
    return {SINGLE: _means(single), PAIR: _means(pair)}


def better_half(trainings: Sequence[Training]) -> tuple[Training, ...]:
    """Configurations that a search would rather retrain: of each data set and kind the better half by validation."""
    value = {
        _key(members[0]): np.mean([max(one.accuracy for one in training.candidates) for training in members])
        for members in _by_configuration(trainings)
    }
    kept = set()
    for group in {key[:2] for key in value}:
        keys = sorted((key for key in value if key[:2] == group), key=lambda key: -value[key])
        kept.update(keys[: (len(keys) + 1) // 2])
    return tuple(training for training in trainings if _key(training) in kept)


def gain(ours: Mapping[Cell, tuple[float, float]], todays: Mapping[Cell, tuple[float, float]]) -> Gain:
    """Mean difference over the cells of both."""
    differences = np.array([np.subtract(ours[cell], todays[cell]) for cell in ours])
    errors = differences.std(axis=0, ddof=1) / np.sqrt(len(differences)) if len(differences) > 1 else [np.nan] * 2
    mean = differences.mean(axis=0)
    return Gain(100 * mean[0], 100 * errors[0], -mean[1], errors[1])


def chosen_without(scored: Mapping[str, Scores], handed_over: str, left_out: str) -> str:
    """The simplest rule within one standard error of the best on all data sets but one. Rules stand simplest first."""
    gains = {name: gain(*_without(scored, name, handed_over, left_out)) for name in scored}
    best = max(gains.values(), key=lambda one: one.log_loss)
    return next(name for name, one in gains.items() if one.log_loss >= best.log_loss - best.log_loss_error)


def _without(scored: Mapping[str, Scores], name: str, handed_over: str, left_out: str) -> tuple[dict, dict]:
    return tuple(
        {cell: value for cell, value in scored[rule][handed_over].items() if cell[0] != left_out}
        for rule in (name, TODAY)
    )


def _rows(scored: Mapping[str, Scores], handed_over: str) -> Iterable[tuple[object, ...]]:
    todays = scored[TODAY][handed_over]
    for name, by_what in scored.items():
        cells = by_what[handed_over]
        accuracy, log_loss = np.mean(list(cells.values()), axis=0)
        one = gain(cells, todays)
        figures = (one.accuracy, one.accuracy_error, one.log_loss, one.log_loss_error)
        shown = f"{name} *" if name == SHIPPED else name
        yield (
            shown,
            f"{100 * accuracy:.1f}",
            f"{log_loss:.3f}",
            *(f"{figure:+.3f}" for figure in figures),
            one.is_clear,
        )


def _rotation_lines(scored: Mapping[str, Scores], handed_over: str) -> Iterable[str]:
    sets = sorted({cell[0] for cell in scored[TODAY][handed_over]})
    if len(sets) < 2:
        return
    for left_out in sets:
        rule = chosen_without(scored, handed_over, left_out)
        for name in dict.fromkeys((rule, SHIPPED)):
            ours, todays = (
                {cell: value for cell, value in scored[one][handed_over].items() if cell[0] == left_out}
                for one in (name, TODAY)
            )
            one = gain(ours, todays)
            what = "chosen without it" if name == rule else "shipped"
            yield (
                f"{left_out}: {name} ({what}): {one.accuracy:+.2f} ± {one.accuracy_error:.2f} points,"
                f" {one.log_loss:+.4f} ± {one.log_loss_error:.4f} nats"
            )


def _by_configuration(trainings: Sequence[Training]) -> Iterable[list[Training]]:
    groups: dict[tuple[str, str, int], list[Training]] = defaultdict(list)
    for training in trainings:
        groups[_key(training)].append(training)
    return groups.values()


def _key(training: Training) -> tuple[str, str, int]:
    return training.photos, training.kind, training.configuration


def _means(cells: Mapping[Cell, Sequence[tuple[float, float]]]) -> dict[Cell, tuple[float, float]]:
    return {cell: tuple(np.mean(values, axis=0)) for cell, values in cells.items()}


def _counts(trainings: Sequence[Training]) -> str:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for training in trainings:
        counts[(training.photos, training.kind)] += 1
    return ", ".join(f"{count} {kind} trainings on {photos}" for (photos, kind), count in counts.items())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choices", description=__doc__)
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of recorded tables (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
