"""Files that may be photos, and what stands beside them and is not used: what reading a layout gives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from carcls.dataset.csv_rows import Refused, Row
from carcls.dataset.lookup import PhotoLookup


@dataclass(frozen=True, slots=True)
class Candidates:
    """Files that are there, not yet opened."""

    root: Path
    """What the paths of `rows` are relative to."""
    rows: tuple[Row, ...]
    refused: tuple[Refused, ...]
    """In file order; what no row names comes last."""
    classes: Mapping[str, str]
    """Every class that a row or a folder names -> its folder, relative to the root; empty for photos to predict."""


def located(lookup: PhotoLookup, rows: Iterable[Row]) -> tuple[list[Row], list[Refused]]:
    """Rows whose file is there, and the others, each with its path as it is spelled on disk."""
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


def by_line(refused: Iterable[Refused]) -> list[Refused]:
    """In the order of the CSV file; what stands in none comes last."""
    return sorted(refused, key=lambda entry: (not entry[0].line, entry[0].line))


def stray(path: str) -> Row:
    """What stands for a file that no row names."""
    return Row(0, path, "", path)
