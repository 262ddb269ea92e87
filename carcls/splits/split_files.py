"""Reads and writes split.csv, folds.csv and quarantine.csv."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from carcls.dataset.csv_rows import is_plain_name
from carcls.dataset.loading import sort_class_names
from carcls.dataset.table import ImageTable, Quarantined
from carcls.errors import DataError
from carcls.splits.split import Groups, Split
from carcls.system import atomic
from carcls.system.csv_cells import escape_cell, readable_cell, unescape_cell

_COLUMNS = ("Id", "path", "Category", "digest", "fold", "group")
_OWN_GROUP = "own_group"
"""A last column, written only if the user names groups."""
_TRAIN, _VALIDATION, _HOLDOUT = "train", "validation", "holdout"
_FOLDS = (_TRAIN, _VALIDATION, _HOLDOUT)
_OLD_NAMES = {"judge": _HOLDOUT}
"""Maps names of folds in older files to the current names."""


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
