"""One stratified, duplicate-aware split per study: pure in (dataset, fractions, seed), stored as split.csv."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carcls import atomic
from carcls.data.duplicates import linked_groups
from carcls.data.rows import is_plain_name
from carcls.data.table import Dataset, ImageTable, Quarantined, sort_class_names
from carcls.errors import DataError

_COLUMNS = ("Id", "path", "Category", "digest", "fold")
_TRAIN, _VALIDATION, _JUDGE = "train", "validation", "judge"
_FOLDS = (_TRAIN, _VALIDATION, _JUDGE)


@dataclass(frozen=True)
class Split:
    """The photos that a study trains on, those it validates on, and those that judge; no photo, and no copy of one, is
    in two of them."""

    class_names: tuple[str, ...]
    train: ImageTable
    validation: ImageTable
    judge: ImageTable | None = None
    """Scored after each epoch, and never asked in any choice; None where no photos are held back for it."""


def make_split(
    dataset: Dataset,
    *,
    fraction: float,
    seed: int,
    judge_fraction: float = 0.0,
    groups: Sequence[tuple[int, ...]] | None = None,
) -> Split:
    """A share of each class, rounded, goes to validation; copies (equal digests, look-alikes) stay on one side.

    Every class with two different photos has at least one on each side; a class with one stays in training, and
    so do copies with contradictory labels, whose score would mean nothing. Both sides keep the file order. Data
    without look-alikes are split as by digests alone.
    judge_fraction: the share of each class that is then held out in the same way, from what validation left, to judge;
    0: no such part. Validation photos do not depend on it.
    Where the data folder itself holds photos back for validation, these are validated on, whatever `fraction` is, but
    for copies of other photos and for classes without any other photo, which are trained on.
    groups: `train_groups(dataset)` where it is known already.
    Raises DataError for fractions outside (0, 1) or of 1 together, or where no class can spare a photo for a part.
    """
    _check_fractions(fraction, judge_fraction)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    table = dataset.train
    pure, contradictory = _groups_by_class(table, train_groups(dataset) if groups is None else groups)
    counts = np.bincount(table.labels, minlength=len(dataset.class_names))
    # All classes give to validation before any gives to judge: the draws for validation are the same without judge.
    held_out: list[set[int]] = []
    for share in (fraction, judge_fraction)[: 2 if judge_fraction else 1]:
        if not held_out and dataset.validation:
            held_out.append(_given(pure, contradictory, set(dataset.validation)))
            continue
        part: set[int] = set()
        for label, count in enumerate(counts.tolist()):
            left = [group for group in pure[label] if not any(group[0] in earlier for earlier in held_out)]
            shuffled = [left[position] for position in rng.permutation(len(left))]
            part.update(_hold_out(shuffled, round(share * count), label in contradictory))
        held_out.append(part)
    _check_held_out(table, held_out)
    in_training = set(range(len(table))).difference(*held_out)
    parts = [table.select(sorted(part)) for part in (in_training, *held_out)]
    return Split(dataset.class_names, *parts)


def train_groups(dataset: Dataset) -> list[tuple[int, ...]]:
    """Positions of training photos, each group copies of one another; every photo is in one."""
    looks = [scan.look for scan in dataset.train_scans]
    return linked_groups(dataset.train.digests, looks, dataset.train.labels.tolist())


def write_split(split: Split, path: Path) -> None:
    """split.csv, atomically: rows of training, of validation, of judge. `read_split` reads it back bit-equal.

    Raises DataError for class names that the rows do not give back: unsorted, or without a photo.
    """
    tables = [(_TRAIN, split.train), (_VALIDATION, split.validation)]
    if split.judge is not None:
        tables.append((_JUDGE, split.judge))
    found = sort_class_names({split.class_names[label] for _, table in tables for label in table.labels})
    if found != split.class_names:
        raise DataError(f"{path}: every class of a split needs a photo, in sorted order; expected {found}")
    _write_csv(
        path,
        _COLUMNS,
        (
            (id_, photo, split.class_names[label], digest, fold)
            for fold, table in tables
            for id_, photo, label, digest in zip(table.ids, table.paths, table.labels, table.digests, strict=True)
        ),
    )


def read_split(path: Path, root: Path) -> Split:
    """What `write_split` wrote, for the data folder `root`; no photo is opened. Raises DataError."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = csv.reader(file)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as a split: {error}; the study needs the file it was made with"
        ) from error
    if tuple(header) != _COLUMNS:
        raise DataError(f"{path}: expected the columns {','.join(_COLUMNS)}, found {','.join(header)[:80]}")
    for line, row in enumerate(rows, start=2):
        _check_row(path, line, row)
    class_names = sort_class_names({row[2] for row in rows})
    train, validation, judge = (_read_table(root, class_names, rows, fold) for fold in _FOLDS)
    return Split(class_names, train, validation, judge if len(judge) else None)


def write_quarantine(path: Path, quarantined: Sequence[Quarantined]) -> None:
    """quarantine.csv, atomically: Id,path,reason of everything that was not used; only a header where all was."""
    _write_csv(path, ("Id", "path", "reason"), ((entry.id, entry.path, entry.reason) for entry in quarantined))


def _check_fractions(validation: float, judge: float) -> None:
    if not 0.0 < validation < 1.0:
        raise DataError(f"validation fraction {validation}: expected a number between 0 and 1, such as 0.15")
    if not 0.0 <= judge < 1.0:
        raise DataError(f"judge fraction {judge}: expected 0, or a number between 0 and 1, such as 0.15")
    if validation + judge >= 1.0:
        raise DataError(
            f"validation fraction {validation} and judge fraction {judge} leave nothing to train on: expected a sum"
            " below 1"
        )


def _check_held_out(table: ImageTable, held_out: Sequence[set[int]]) -> None:
    """held_out: of validation, and of judge where it is asked for."""
    if not held_out[0]:
        raise DataError(
            f"{table.root}: no class has two different photos, so none can be held out for validation; add photos"
        )
    if not held_out[-1]:
        raise DataError(
            f"{table.root}: no class has three different photos, so none can be held out to judge; add photos, or leave"
            " out the judge fraction"
        )


def _groups_by_class(
    table: ImageTable, groups: Sequence[tuple[int, ...]]
) -> tuple[dict[int, list[list[int]]], set[int]]:
    """Copies grouped, by label; and the labels of copies that carry more than one."""
    pure: dict[int, list[list[int]]] = defaultdict(list)
    contradictory: set[int] = set()
    for group in groups:
        labels = {int(table.labels[index]) for index in group}
        if len(labels) == 1:
            pure[labels.pop()].append(list(group))
        else:
            contradictory |= labels
    return pure, contradictory


def _given(pure: dict[int, list[list[int]]], contradictory: set[int], held_back: set[int]) -> set[int]:
    """Of the photos that the data folder holds back, those that can be: no copy is among the others."""
    part: set[int] = set()
    for label, groups in pure.items():
        whole = [group for group in groups if held_back.issuperset(group)]
        if len(whole) < len(groups) or label in contradictory:
            part.update(*whole)
    return part


def _hold_out(groups: list[list[int]], wanted: int, has_other_training: bool) -> list[int]:
    """Whole groups, first come, up to `wanted` photos; at least one group where another stays in training."""
    spare = len(groups) - (0 if has_other_training else 1)
    held_out: list[int] = []
    for group in groups:
        if spare > 0 and len(held_out) + len(group) <= wanted:
            held_out += group
            spare -= 1
    if not held_out and spare > 0:
        return min(groups, key=len)
    return held_out


def _check_row(path: Path, line: int, row: list[str]) -> None:
    if len(row) != len(_COLUMNS) or row[4] not in _FOLDS:
        raise DataError(f"{path}:{line}: expected five fields, the last one of {', '.join(_FOLDS)}; found {row!r}")
    if not all(is_plain_name(part) for part in row[1].split("/")):
        raise DataError(f"{path}:{line}: the path {row[1]!r} leaves the data folder; the file was altered")


def _read_table(root: Path, class_names: tuple[str, ...], rows: list[list[str]], fold: str) -> ImageTable:
    chosen = [row for row in rows if row[4] == fold]
    label_of = {name: label for label, name in enumerate(class_names)}
    return ImageTable(
        root=root,
        ids=tuple(row[0] for row in chosen),
        paths=tuple(row[1] for row in chosen),
        labels=np.array([label_of[row[2]] for row in chosen], dtype=np.int64),
        digests=tuple(row[3] for row in chosen),
    )


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    atomic.write_text(path, text.getvalue())
