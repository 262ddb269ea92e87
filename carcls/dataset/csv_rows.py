"""Reads rows of CSV files that name photos. Invalid rows are collected with their line and a reason."""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from carcls.dataset.names import is_class_name, normalized_name
from carcls.errors import DataError

DELIMITERS = ",;\t"
_SHOWN = 80
"""Characters of a user's text that a message quotes."""


@dataclass(frozen=True, slots=True)
class Row:
    """One photo as named by a CSV file or a folder."""

    line: int
    """Line in the CSV file, counted from 1; 0 if found in a folder."""
    id: str
    category: str
    """Empty if unlabelled."""
    path: str
    """POSIX, relative to the data folder."""
    source: str = ""
    """Name of the CSV file."""
    group: str = ""
    """Of the user's own column; empty for a photo of its own."""
    part: str = ""
    """Part of the user's own split, or empty without one."""

    @property
    def where(self) -> str:
        """Prefix of messages about this row."""
        return f"{self.source} line {self.line}: " if self.line else ""


Refused = tuple[Row, str]
"""A row or file that is not used, and the reason."""


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file with a header."""

    path: Path
    header: tuple[str, ...]
    lines: tuple[tuple[int, list[str]], ...]
    """(line in the file, counted from 1; cells), without empty lines."""

    def cells(self, columns: Sequence[str]) -> Iterator[tuple[int, list[str], bool]]:
        """Yields the line, the stripped cells of these columns, and whether the row is longer than the header.

        Cells missing from a short row are empty. Raises DataError if a column is missing.
        """
        missing = [name for name in columns if name not in self.header]
        if missing:
            raise DataError(
                f"{self.path}: no column {' and no column '.join(missing)}; expected a first line"
                f" `{','.join(columns)}`, found `{','.join(self.header)[:_SHOWN]}`"
            )
        places = [self.header.index(name) for name in columns]
        width = len(self.header)
        for line, row in self.lines:
            yield line, [row[place].strip() if place < len(row) else "" for place in places], any(row[width:])


def read_csv(path: Path, *, delimiters: str = DELIMITERS, errors: str = "strict") -> CsvFile:
    """Reads a UTF-8 file, with or without a byte order mark. The delimiter is the most frequent one in the first line.

    errors: `surrogateescape` for a list that carsearch wrote, with file names as they are on disk. Raises DataError if
    the file is missing or not valid CSV.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; expected a CSV file with a first line of column names."
            " Check the data folder's path, and unpack the contest's files into it"
        )
    try:
        with path.open(encoding="utf-8-sig", newline="", errors=errors) as file:
            first = file.readline()
            # `strict`: otherwise an unclosed quote would silently swallow the rest of the file.
            reader = csv.reader(chain([first], file), delimiter=max(delimiters, key=first.count), strict=True)
            header = tuple(cell.strip() for cell in next(reader, []))
            return CsvFile(path, header, tuple((reader.line_num, row) for row in reader if any(row)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV in UTF-8: {error}; save or download the file again") from error


def contest_rows(table: CsvFile, columns: Sequence[str], folder: str) -> tuple[list[Row], list[Refused]]:
    """Rows that name a photo in `folder`, and invalid rows with a reason.

    columns: `("Id",)` or `("Id", "Category")`, both plain names; Category is the folder between `folder` and the photo.
    Raises DataError if a column is missing.
    """
    good: list[Row] = []
    bad: list[Refused] = []
    for line, cells, is_longer in table.cells(columns):
        path = "/".join(part for part in (folder, *cells[1:], cells[0]) if part)
        row = Row(line, cells[0], normalized_name("".join(cells[1:])), path, table.path.name)
        reason = _why_empty(columns, cells, is_longer)
        if not reason and not is_plain_name(cells[0]):
            reason = f"Id {_shown(cells[0])} is not a plain file name"
        if not reason and not all(is_plain_name(name) for name in cells[1:]):
            reason = f"Category {_shown(cells[1])} is not a plain folder name"
        reason = reason or _why_no_class(columns, cells)
        _put(row, reason, good, bad)
    return without_duplicates(good, bad, "Id")


def path_rows(table: CsvFile, columns: Sequence[str], folder: str) -> tuple[list[Row], list[Refused]]:
    """As `contest_rows`, for a column of paths below `folder` (empty: the data folder) and an optional one of labels.

    A label is any one-line text. With labels, the id is the path with single slashes and without `.`; without labels
    it stays as written, since a submission must repeat it.
    """
    good: list[Row] = []
    bad: list[Refused] = []
    for line, cells, is_longer in table.cells(columns):
        parts = [part for part in cells[0].split("/") if part not in ("", ".")]
        path = "/".join([folder, *parts] if folder else parts)
        id_ = "/".join(parts) if len(columns) > 1 else cells[0]
        row = Row(line, id_, normalized_name("".join(cells[1:])), path, table.path.name)
        reason = _why_empty(columns, cells, is_longer)
        if not reason and cells[0].startswith("/"):
            reason = f"{columns[0]} {_shown(cells[0])} is absolute; expected a path inside the data folder"
        if not reason and not (parts and all(is_plain_name(part) for part in parts)):
            reason = f"{columns[0]} {_shown(cells[0])} is not a path inside the data folder, with / between names"
        reason = reason or _why_no_class(columns, cells)
        _put(row, reason, good, bad)
    return without_duplicates(good, bad, columns[0])


def is_plain_name(name: str) -> bool:
    """True for a valid file name that stays in its folder: no separator, no `..`, no line break."""
    return name not in ("", ".", "..") and not any(sign in name for sign in "/\\\0\n\r")


def _why_no_class(columns: Sequence[str], cells: list[str]) -> str:
    """Reason why the label is no class; empty if it is one, or if there is no label column."""
    if all(is_class_name(normalized_name(label)) for label in cells[1:]):
        return ""
    return f"{columns[1]} {_shown(cells[1])} is not a one-line text"


def _why_empty(columns: Sequence[str], cells: list[str], is_longer: bool) -> str:
    """Reason why the row has missing or surplus cells; empty if it has neither."""
    for column, cell in zip(columns, cells, strict=True):
        if not cell:
            return f"row without {column}"
    return "more fields than the first line has names" if is_longer else ""


def _put(row: Row, reason: str, good: list[Row], bad: list[Refused]) -> None:
    if reason:
        bad.append((row, reason))
    else:
        good.append(row)


def without_duplicates(
    rows: list[Row], bad: list[Refused], what: str, key: Callable[[Row], str] = lambda row: row.id
) -> tuple[list[Row], list[Refused]]:
    """Keeps the first of rows with equal keys, or none if their labels, parts or groups differ. Appends the others to
    `bad`."""
    by_key: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_key[key(row)].append(row)
    good: list[Row] = []
    for row in rows:
        first, *others = by_key[key(row)]
        labels = {other.category for other in (first, *others)}
        if len(labels) > 1:
            lines = _lines([other for other in by_key[key(row)] if other.category != row.category])
            bad.append((row, f"{what} also occurs in {lines} with another label; it is unknown which one is right"))
        elif apart := [other for other in by_key[key(row)] if other.part != row.part]:
            bad.append(
                (row, f"{what} also occurs in {_lines(apart)} in another part; it is unknown which one is right")
            )
        elif apart := [other for other in by_key[key(row)] if other.group != row.group]:
            bad.append(
                (row, f"{what} also occurs in {_lines(apart)} in another group; it is unknown which one is right")
            )
        elif row is not first:
            bad.append((row, f"{what} already occurs in line {first.line}"))
        else:
            good.append(row)
    return good, bad


def _lines(rows: list[Row]) -> str:
    lines = [str(row.line) for row in rows]
    return f"line {lines[0]}" if len(lines) == 1 else f"lines {lines[0]} to {lines[-1]}"


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"
