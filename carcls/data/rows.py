"""Rows of the contest's CSV files -> the photos they name; rows that name none are told apart, with their line."""

import csv
from dataclasses import dataclass
from pathlib import Path

from carcls.errors import DataError


@dataclass(frozen=True)
class Row:
    """One photo as a CSV file or a folder names it."""

    line: int
    """In the CSV file, counted from 1; 0 for a file found in a folder."""
    id: str
    category: str
    """Empty where unlabelled."""
    path: str
    """Posix, relative to the data folder."""
    source: str = ""
    """Name of the CSV file."""

    @property
    def where(self) -> str:
        """Prefix for a message about this row."""
        return f"{self.source} line {self.line}: " if self.line else ""


def read_rows(path: Path, columns: tuple[str, ...], folder: str) -> tuple[list[Row], list[tuple[Row, str]]]:
    """Rows that name a photo below `folder`, and rows that do not, each with the reason.

    columns: `("Id",)` or `("Id", "Category")`; a Category is a folder between `folder` and the photo.
    Raises DataError where the file is missing, is not CSV in UTF-8, or lacks a column.
    """
    good: list[Row] = []
    bad: list[tuple[Row, str]] = []
    first_line: dict[str, int] = {}
    for row in _parse(path, columns, folder):
        reason = _why_unusable(row, columns, first_line)
        if reason:
            bad.append((row, reason))
        else:
            first_line[row.id] = row.line
            good.append(row)
    return good, bad


def is_plain_name(name: str) -> bool:
    """True for a name that stays in its folder: no separator, no `..`, nothing that a file cannot be called."""
    return name not in ("", ".", "..") and not any(sign in name for sign in "/\\\0\n\r")


def _parse(path: Path, columns: tuple[str, ...], folder: str) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path}: no column {' and no column '.join(missing)}; expected a first line `{','.join(columns)}`,"
                    f" found `{','.join(reader.fieldnames or ())[:80]}`"
                )
            return [_row(path.name, reader.line_num, fields, columns, folder) for fields in reader]
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; expected a CSV file with the columns {','.join(columns)}."
            " Check the data folder's path, and unpack the contest's files into it"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV in UTF-8: {error}; download the file again") from error


def _row(source: str, line: int, fields: dict[str, str | None], columns: tuple[str, ...], folder: str) -> Row:
    id_, category = (fields.get("Id") or "").strip(), ""
    if "Category" in columns:
        category = (fields.get("Category") or "").strip()
    return Row(line, id_, category, "/".join(part for part in (folder, category, id_) if part), source)


def _why_unusable(row: Row, columns: tuple[str, ...], first_line: dict[str, int]) -> str:
    """Empty for a row that can be used."""
    if not row.id or ("Category" in columns and not row.category):
        return f"row without {'Category' if row.id else 'Id'}"
    if not is_plain_name(row.id):
        return f"Id {row.id!r} is not a plain file name"
    if row.category and not is_plain_name(row.category):
        return f"Category {row.category!r} is not a plain folder name"
    if row.id in first_line:
        return f"Id stands in line {first_line[row.id]} already"
    return ""
