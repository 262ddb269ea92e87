"""One stratified, duplicate-aware split per study, pure in (dataset, fractions, seed), stored as split.csv."""

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
"""Maps names of folds in older files to the current names."""


Groups = tuple[tuple[str, ...], ...]
"""Paths of photos that must stay together, two or more per group; sorted."""


@dataclass(frozen=True)
class Split:
    """A study's training, validation and holdout photos. No photo is in two of them, nor are copies of it."""

    class_names: tuple[str, ...]
    train: ImageTable
    validation: ImageTable
    holdout: ImageTable | None = None
    """Scored after each epoch but never used in a decision; None if there is no holdout."""
    groups: Groups = ()
    """Photos that are exact or near copies of each other."""


def make_split(
    dataset: Dataset,
    *,
    fraction: float,
    seed: int,
    holdout_fraction: float = 0.0,
    groups: Sequence[tuple[int, ...]] | None = None,
) -> Split:
    """Moves a rounded share of each class to validation; copies (equal digests, look-alikes) stay together.

    Every class with two different photos has at least one on each side. A class with one photo stays in training, as do
    copies with contradictory labels, whose score would be meaningless. All parts keep the file order.

    fraction: share for validation. If the data folder has its own validation photos, these are used instead, except
    copies of other photos and classes without any other photo, which stay in training.
    holdout_fraction: share of each class held out in the same way from the remaining photos; 0 for none. Validation
    photos do not depend on it.
    groups: `train_groups(dataset)` if already computed.

    Raises DataError if a fraction is outside (0, 1), if their sum is not below 1, or if no class can spare a photo.
    """
    _check_fractions(fraction, holdout_fraction)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    table = dataset.train
    groups = train_groups(dataset) if groups is None else groups
    pure, contradictory = groups_by_class(table, groups)
    counts = np.bincount(table.labels, minlength=len(dataset.class_names))
    # Validation is drawn from all classes before the holdout, so that it is the same without a holdout.
    held_out: list[set[int]] = []
    for share in (fraction, holdout_fraction)[: 2 if holdout_fraction else 1]:
        if not held_out and dataset.validation:
            held_out.append(_predefined(pure, contradictory, set(dataset.validation)))
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
    """Groups of positions of training photos that are copies of each other. Every photo is in one group."""
    thumbnails = [scan.thumbnail for scan in dataset.train_scans]
    return linked_groups(dataset.train.digests, thumbnails, dataset.train.labels.tolist())


def write_split(split: Split, path: Path) -> None:
    """Writes split.csv atomically: training, validation, holdout rows. `read_split` reads it back bit-equal.

    Raises DataError for class names that the rows cannot reproduce: unsorted, or without a photo.
    """
    tables = {_TRAIN: split.train, _VALIDATION: split.validation}
    if split.holdout is not None:
        tables[_HOLDOUT] = split.holdout
    write_parts(path, split.class_names, tables, split.groups)


def read_split(path: Path, root: Path) -> Split:
    """Reads what `write_split` wrote, for the data folder `root`, without opening photos. Raises DataError."""
    return parse_split(read_bytes(path), path, root)


def parse_split(content: bytes, path: Path, root: Path) -> Split:
    """The same from the file's content; `path` is only used in messages. Raises DataError."""
    class_names, parts, groups = parse_parts(content, path, root, _FOLDS)
    holdout = parts[_HOLDOUT]
    return Split(class_names, parts[_TRAIN], parts[_VALIDATION], holdout if len(holdout) else None, groups)


def read_bytes(path: Path) -> bytes:
    """Content of a split's file. Raises DataError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read as a split: {error}; the study needs the file it was made with"
        ) from error


def write_parts(path: Path, class_names: tuple[str, ...], parts: Mapping[str, ImageTable], groups: Groups) -> None:
    """Writes one row per photo of each part, atomically. Raises DataError as `write_split` does."""
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
    """Reads what `write_parts` wrote: class names, a possibly empty table for each of `names`, and the groups.

    `path` is only used in messages. Older files without a group column have no groups. Raises DataError naming file and
    line.
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
    """Writes quarantine.csv atomically: Id,path,reason of everything that is not used; only a header if all is used."""
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
    """Raises DataError if a part is empty. held_out: validation, and the holdout if requested."""
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
    """Groups of copies by label, and the labels of all copies that have more than one."""
    pure: dict[int, list[list[int]]] = defaultdict(list)
    contradictory: set[int] = set()
    for group in groups:
        labels = {int(table.labels[index]) for index in group}
        if len(labels) == 1:
            pure[labels.pop()].append(list(group))
        else:
            contradictory |= labels
    return pure, contradictory


def _predefined(pure: dict[int, list[list[int]]], contradictory: set[int], held_back: set[int]) -> set[int]:
    """The photos of the data folder's validation folder that can be validated: without a copy among the others."""
    part: set[int] = set()
    for label, groups in pure.items():
        whole = [group for group in groups if held_back.issuperset(group)]
        if len(whole) < len(groups) or label in contradictory:
            part.update(*whole)
    return part


def _hold_out(groups: list[list[int]], wanted: int, has_other_training: bool) -> list[int]:
    """Takes whole groups in order, up to `wanted` photos; at least one if another stays in training."""
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
