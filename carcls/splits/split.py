"""One stratified, duplicate-aware split per study: pure in (dataset, fractions, seed), stored as split.csv."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carcls.dataset.csv_rows import is_plain_name
from carcls.dataset.table import Dataset, ImageTable, Quarantined, sort_class_names
from carcls.errors import DataError
from carcls.photos.duplicates import linked_groups
from carcls.system import atomic
from carcls.system.csv_cells import escape_cell, readable_cell, unescape_cell

_COLUMNS = ("Id", "path", "Category", "digest", "fold", "group")
_TRAIN, _VALIDATION, _HOLDOUT = "train", "validation", "holdout"
_FOLDS = (_TRAIN, _VALIDATION, _HOLDOUT)
_OLD_NAMES = {"judge": _HOLDOUT}
"""Of folds, in files that were written before they were renamed."""


Groups = tuple[tuple[str, ...], ...]
"""Paths of photos that must stay on one side, two or more in each group; sorted."""


@dataclass(frozen=True)
class Split:
    """A study's training, validation and holdout photos; no photo, and no copy of one, is in two of them."""

    class_names: tuple[str, ...]
    train: ImageTable
    validation: ImageTable
    holdout: ImageTable | None = None
    """Scored after each epoch, and never asked in any choice; None where no photos are held back for it."""
    groups: Groups = ()
    """Photos that are copies of one another, exact or near."""


def make_split(
    dataset: Dataset,
    *,
    fraction: float,
    seed: int,
    holdout_fraction: float = 0.0,
    groups: Sequence[tuple[int, ...]] | None = None,
) -> Split:
    """A share of each class, rounded, goes to validation; copies (equal digests, look-alikes) stay on one side.

    Every class with two different photos has at least one on each side; a class with one stays in training, and
    so do copies with contradictory labels, whose score would mean nothing. Both sides keep the file order. Data
    without look-alikes are split as by digests alone.
    holdout_fraction: the share of each class that is then held out in the same way, from what validation left; 0: none.
    Validation photos do not depend on it.
    Where the data folder itself holds photos back for validation, these are validated on, whatever `fraction` is, but
    for copies of other photos and for classes without any other photo, which are trained on.
    groups: `train_groups(dataset)` where it is known already.
    Raises DataError for fractions outside (0, 1) or of 1 together, or where no class can spare a photo for a part.
    """
    _check_fractions(fraction, holdout_fraction)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    table = dataset.train
    groups = train_groups(dataset) if groups is None else groups
    pure, contradictory = groups_by_class(table, groups)
    counts = np.bincount(table.labels, minlength=len(dataset.class_names))
    # All classes give to validation before any gives to the holdout, so that validation is the same without one.
    held_out: list[set[int]] = []
    for share in (fraction, holdout_fraction)[: 2 if holdout_fraction else 1]:
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
    train, validation, *holdout = (table.select(sorted(part)) for part in (in_training, *held_out))
    copies = sorted(tuple(sorted(table.paths[row] for row in group)) for group in groups if len(group) > 1)
    return Split(dataset.class_names, train, validation, holdout[0] if holdout else None, tuple(copies))


def train_groups(dataset: Dataset) -> list[tuple[int, ...]]:
    """Positions of training photos, each group copies of one another; every photo is in one."""
    looks = [scan.look for scan in dataset.train_scans]
    return linked_groups(dataset.train.digests, looks, dataset.train.labels.tolist())


def write_split(split: Split, path: Path) -> None:
    """split.csv, atomically: rows of training, of validation, of the holdout. `read_split` reads it back bit-equal.

    Raises DataError for class names that the rows do not give back: unsorted, or without a photo.
    """
    tables = {_TRAIN: split.train, _VALIDATION: split.validation}
    if split.holdout is not None:
        tables[_HOLDOUT] = split.holdout
    write_parts(path, split.class_names, tables, split.groups)


def read_split(path: Path, root: Path) -> Split:
    """What `write_split` wrote, for the data folder `root`; no photo is opened. Raises DataError."""
    return parse_split(read_bytes(path), path, root)


def parse_split(content: bytes, path: Path, root: Path) -> Split:
    """The same from the file's content; `path` is its name, for messages. Raises DataError."""
    class_names, parts, groups = parse_parts(content, path, root, _FOLDS)
    holdout = parts[_HOLDOUT]
    return Split(class_names, parts[_TRAIN], parts[_VALIDATION], holdout if len(holdout) else None, groups)


def read_bytes(path: Path) -> bytes:
    """A split's file. Raises DataError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read as a split: {error}; the study needs the file it was made with"
        ) from error


def write_parts(path: Path, class_names: tuple[str, ...], parts: Mapping[str, ImageTable], groups: Groups) -> None:
    """A row for each photo of each part, atomically. Raises DataError as `write_split` does."""
    found = sort_class_names({class_names[label] for table in parts.values() for label in table.labels})
    if found != class_names:
        raise DataError(f"{path}: every class of a split needs a photo, in sorted order; expected {found}")
    group_of = {photo: str(number) for number, group in enumerate(groups) for photo in group}
    _write_csv(
        path,
        _COLUMNS,
        (
            map(escape_cell, (id_, photo, class_names[label], digest, part, group_of.get(photo, "")))
            for part, table in parts.items()
            for id_, photo, label, digest in zip(table.ids, table.paths, table.labels, table.digests, strict=True)
        ),
    )


def parse_parts(
    content: bytes, path: Path, root: Path, names: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, ImageTable], Groups]:
    """What `write_parts` wrote: class names, a table for each of `names`, which may be empty, and the groups.

    `path` is the file's name, for messages. Files without groups are read as having none. Raises DataError naming file
    and line.
    """
    try:
        text = io.StringIO(content.decode("utf-8", errors="surrogateescape"), newline="")
        header, *rows = csv.reader(text)
    except (csv.Error, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as a split: {error}; the study needs the file it was made with"
        ) from error
    if tuple(header) == _COLUMNS[:-1]:
        rows = [[*row, ""] for row in rows]
    elif tuple(header) != _COLUMNS:
        raise DataError(f"{path}: expected the columns {','.join(_COLUMNS)}, found {','.join(header)[:80]}")
    rows = [[unescape_cell(cell) for cell in row] for row in rows]
    for line, row in enumerate(rows, start=2):
        _check_row(path, line, row, names)
    rows = [[*row[:4], _OLD_NAMES.get(row[4], row[4]), row[5]] for row in rows]
    class_names = sort_class_names({row[2] for row in rows})
    grouped: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row[5]:
            grouped[row[5]].append(row[1])
    groups = tuple(tuple(sorted(group)) for group in grouped.values())
    return class_names, {name: _read_table(root, class_names, rows, name) for name in names}, tuple(sorted(groups))


def write_quarantine(path: Path, quarantined: Sequence[Quarantined]) -> None:
    """quarantine.csv, atomically: Id,path,reason of everything that was not used; only a header where all was."""
    rows = (map(readable_cell, (entry.id, entry.path, entry.reason)) for entry in quarantined)
    _write_csv(path, ("Id", "path", "reason"), rows)


def _check_fractions(validation: float, holdout: float) -> None:
    if not 0.0 < validation < 1.0:
        raise DataError(f"validation fraction {validation}: expected a number between 0 and 1, such as 0.15")
    if not 0.0 <= holdout < 1.0:
        raise DataError(f"holdout fraction {holdout}: expected 0, or a number between 0 and 1, such as 0.15")
    if validation + holdout >= 1.0:
        raise DataError(
            f"validation fraction {validation} and holdout fraction {holdout} leave nothing to train on: expected a sum"
            " below 1"
        )


def _check_held_out(table: ImageTable, held_out: Sequence[set[int]]) -> None:
    """held_out: of validation, and of the holdout where one is asked for."""
    if not held_out[0]:
        raise DataError(
            f"{table.root}: no class has two different photos, so none can be held out for validation; add photos"
        )
    if not held_out[-1]:
        raise DataError(
            f"{table.root}: no class has three different photos, so none can be held out; add photos, or leave"
            " out the holdout fraction"
        )


def groups_by_class(
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


def _check_row(path: Path, line: int, row: list[str], parts: Sequence[str]) -> None:
    if len(row) != len(_COLUMNS) or _OLD_NAMES.get(row[4], row[4]) not in parts:
        raise DataError(
            f"{path}:{line}: expected {len(_COLUMNS)} fields, the fifth one of {', '.join(parts)}; found {row!r}"
        )
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


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    atomic.write_text(path, text.getvalue())
