"""Files that may be photos, and files and rows that are not used: the result of reading a layout."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from carcls.dataset.csv_rows import Refused, Row
from carcls.dataset.lookup import PhotoLookup


@dataclass(frozen=True, slots=True)
class Candidates:
    """Existing files, not yet opened."""

    root: Path
    """Base folder of the paths in `rows`."""
    rows: tuple[Row, ...]
    refused: tuple[Refused, ...]
    """In file order; files that no row names come last."""
    classes: Mapping[str, str]
    """Class name -> its folder, relative to the root, for every class found; empty for photos to predict."""
    unread: tuple[Refused, ...] = ()
    """Folders and files beside those that a CSV file of labels names."""


def locate_rows(lookup: PhotoLookup, rows: Iterable[Row]) -> tuple[list[Row], list[Refused]]:
    """Rows whose file exists, and the others with a reason. Paths become those spelled on disk."""
    there: list[Row] = []
    missing: list[Refused] = []
    for row in rows:
        path, reason = lookup.locate(row.path, "" if "/" in row.id.strip("/") else row.id.strip())
        placed = row if path == row.path else replace(row, path=path)
        if reason:
            missing.append((placed, reason))
        else:
            there.append(placed)
    return there, missing


def sorted_by_line(refused: Iterable[Refused]) -> list[Refused]:
    """Sorted by line of the CSV file; entries without a line come last."""
    return sorted(refused, key=lambda entry: (not entry[0].line, entry[0].line))


def stray_row(path: str) -> Row:
    """A row that stands for a file that no CSV row names."""
    return Row(0, path, "", path)
