"""One stratified, duplicate-aware split per study, pure in (dataset, fractions, seed), stored as split.csv."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from carcls.dataset.csv_rows import is_plain_name
from carcls.dataset.table import Dataset, ImageTable, Quarantined, sort_class_names
from carcls.errors import DataError
from carcls.photos.duplicates import linked_groups
from carcls.splits.units import Unit, Units, draw, joined, whole_units
from carcls.system import atomic
from carcls.system.csv_cells import escape_cell, readable_cell, unescape_cell

_COLUMNS = ("Id", "path", "Category", "digest", "fold", "group")
_OWN_GROUP = "own_group"
"""A last column, written only if the user names groups."""
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
    own_groups: Groups = ()
    """Photos of one group by the user's own column, such as one car's."""

    @property
    def units(self) -> Groups:
        """Photos that must stay together, two or more each: copies, own groups, and both joined where they overlap."""
        return tuple(tuple(sorted(group)) for group in joined([*self.groups, *self.own_groups]))


def make_split(
    dataset: Dataset,
    *,
    fraction: float,
    seed: int,
    holdout_fraction: float = 0.0,
    groups: Sequence[tuple[int, ...]] | None = None,
) -> Split:
    """Moves a rounded share of each class to validation; copies (equal digests, look-alikes) and the user's own groups
    stay together.

    Every class with two different photos has at least one on each side. A class with one photo stays in training, as do
    copies with contradictory labels, whose score would be meaningless. All parts keep the file order.

    fraction: share for validation. If the data folder has its own validation photos, these are used instead, except
    copies of other photos and classes without any other photo, which stay in training.
    holdout_fraction: share of each class held out in the same way from the remaining photos; 0 for none. Validation
    photos do not depend on it. If the data folder has its own holdout photos, these are used instead.
    groups: `train_groups(dataset)` if already computed.

    Raises DataError if a fraction is outside (0, 1), if their sum is not below 1, if no class can spare a photo, or if
    there is both an own holdout and a fraction for one.
    """
    _check_fractions(fraction, holdout_fraction)
    if dataset.holdout and holdout_fraction:
        raise DataError(
            f"{dataset.train.root}: data.split_column names holdout photos, and data.holdout.fraction asks to draw"
            " some: remove one of the two"
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    table = dataset.train
    groups = train_groups(dataset) if groups is None else groups
    own = _own_units(dataset.own_groups)
    units = Units.of(table.labels, groups, own)
    counts = np.bincount(table.labels, minlength=len(dataset.class_names)).tolist()
    own_holdout = whole_units(units, set(dataset.holdout))
    units = units.without(own_holdout)
    # Validation is drawn from all classes before the holdout, so that it is the same without a holdout.
    if dataset.validation:
        validation = whole_units(units, set(dataset.validation))
    else:
        validation = draw(units, fraction, counts, rng)
    held_out = [validation]
    if dataset.holdout:
        held_out.append(own_holdout)
    elif holdout_fraction:
        held_out.append(draw(units.without(validation), holdout_fraction, counts, rng))
    _check_held_out(table, held_out)
    in_training = set(range(len(table))).difference(*held_out)
    train, validated, *holdout = (table.select(sorted(part)) for part in (in_training, *held_out))
    return Split(
        dataset.class_names,
        train,
        validated,
        holdout[0] if holdout else None,
        _named(table, groups),
        _named(table, own),
    )


def _own_units(names: Sequence[str]) -> list[Unit]:
    """Rows of each named group of two photos or more; photos without a name are in none."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        if name:
            rows[name].append(row)
    return [tuple(group) for group in rows.values() if len(group) > 1]


def _named(table: ImageTable, groups: Iterable[Unit]) -> Groups:
    """The paths of groups of two photos or more, sorted."""
    return tuple(sorted(tuple(sorted(table.paths[row] for row in group)) for group in groups if len(group) > 1))


def all_trained(split: Split) -> Split:
    """The split with its validation photos after those of training, and none left to validate. The holdout stays."""
    nothing = split.validation.select([])
    return replace(split, train=joined_tables(split.train, split.validation), validation=nothing)


def joined_tables(*tables: ImageTable) -> ImageTable:
    """The photos of one or more tables of one data folder, one table after the other."""
    first = tables[0]
    return ImageTable(
        root=first.root,
        ids=tuple(id_ for table in tables for id_ in table.ids),
        paths=tuple(path for table in tables for path in table.paths),
        labels=np.concatenate([table.labels for table in tables]),
        digests=tuple(digest for table in tables for digest in table.digests),
    )


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
    write_parts(path, split.class_names, tables, split.groups, split.own_groups)


def read_split(path: Path, root: Path) -> Split:
    """Reads what `write_split` wrote, for the data folder `root`, without opening photos. Raises DataError."""
    return parse_split(read_bytes(path), path, root)


def parse_split(content: bytes, path: Path, root: Path) -> Split:
    """The same from the file's content; `path` is only used in messages. Raises DataError."""
    class_names, parts, groups, own_groups = parse_parts(content, path, root, _FOLDS)
    holdout = parts[_HOLDOUT]
    held_out = holdout if len(holdout) else None
    return Split(class_names, parts[_TRAIN], parts[_VALIDATION], held_out, groups, own_groups)


def read_bytes(path: Path) -> bytes:
    """Content of a split's file. Raises DataError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read as a split: {error}; the study needs the file it was made with"
        ) from error


def write_parts(
    path: Path,
    class_names: tuple[str, ...],
    parts: Mapping[str, ImageTable],
    groups: Groups,
    own_groups: Groups = (),
) -> None:
    """Writes one row per photo of each part, atomically. Raises DataError as `write_split` does."""
    found = sort_class_names({class_names[label] for table in parts.values() for label in table.labels})
    if found != class_names:
        raise DataError(f"{path}: every class of a split needs a photo, in sorted order; expected {found}")
    numbered = [_numbers(groups), *([_numbers(own_groups)] if own_groups else [])]
    _write_csv(
        path,
        (*_COLUMNS, *([_OWN_GROUP] if own_groups else [])),
        (
            map(escape_cell, (id_, photo, class_names[label], digest, part, *(of.get(photo, "") for of in numbered)))
            for part, table in parts.items()
            for id_, photo, label, digest in zip(table.ids, table.paths, table.labels, table.digests, strict=True)
        ),
    )


def _numbers(groups: Groups) -> dict[str, str]:
    return {photo: str(number) for number, group in enumerate(groups) for photo in group}


def parse_parts(
    content: bytes, path: Path, root: Path, names: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, ImageTable], Groups, Groups]:
    """Reads what `write_parts` wrote: class names, a possibly empty table for each of `names`, groups and own groups.

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
        rows = [[*row, "", ""] for row in rows]
    elif tuple(header) == _COLUMNS:
        rows = [[*row, ""] for row in rows]
    elif tuple(header) != (*_COLUMNS, _OWN_GROUP):
        raise DataError(f"{path}: expected the columns {','.join(_COLUMNS)}, found {','.join(header)[:80]}")
    rows = [[unescape_cell(cell) for cell in row] for row in rows]
    for line, row in enumerate(rows, start=2):
        _check_row(path, line, row, names)
    rows = [[*row[:4], _OLD_NAMES.get(row[4], row[4]), *row[5:]] for row in rows]
    class_names = sort_class_names({row[2] for row in rows})
    parts = {name: _read_table(root, class_names, rows, name) for name in names}
    groups, own_groups = (_read_groups(rows, column) for column in (5, 6))
    return class_names, parts, groups, own_groups


def _read_groups(rows: list[list[str]], column: int) -> Groups:
    grouped: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row[column]:
            grouped[row[column]].append(row[1])
    return tuple(sorted(tuple(sorted(group)) for group in grouped.values()))


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


def _check_row(path: Path, line: int, row: list[str], parts: Sequence[str]) -> None:
    if len(row) != len(_COLUMNS) + 1 or _OLD_NAMES.get(row[4], row[4]) not in parts:
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
