"""The user's own columns of a CSV file: groups that stay together, and the part of the split of each photo."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from carcls.dataset.csv_rows import CsvFile, Refused, Row
from carcls.dataset.layouts import Layout
from carcls.dataset.names import normalized_name
from carcls.errors import DataError

TRAIN, VALIDATION, HOLDOUT = "train", "validation", "holdout"
_PARTS = {
    "train": TRAIN,
    "training": TRAIN,
    "validation": VALIDATION,
    "valid": VALIDATION,
    "val": VALIDATION,
    "holdout": HOLDOUT,
    "test": HOLDOUT,
}
"""Part by its name in the column, in any case."""


def with_own_columns(
    table: CsvFile, rows: Sequence[Row], refused: Sequence[Refused], layout: Layout
) -> tuple[list[Row], list[Refused]]:
    """Rows with their group and part, as `data.group_column` and `data.split_column` say; unchanged without these.

    An empty group is a photo of its own. A row whose part is missing or unknown is rejected, and so is one whose
    photo another row puts into another part or group, even if that row is in `refused`. Raises DataError if there is no
    such column.
    """
    groups = _cells(table, layout.group_column, "data.group_column")
    parts = _cells(table, layout.split_column, "data.split_column")
    known = {line: _PARTS.get(name.casefold(), "") for line, name in parts.items()}
    everything = (*rows, *(row for row, _ in refused))
    part_lines = _lines(everything, {line: part for line, part in known.items() if part})
    group_lines = _lines(everything, groups)
    good: list[Row] = []
    bad = list(refused)
    for row in rows:
        named = replace(row, group=groups.get(row.line, ""), part=known.get(row.line, ""))
        apart = [(line, "part") for part, line in part_lines[row.path].items() if part != named.part]
        apart += [(line, "group") for group, line in group_lines[row.path].items() if group != named.group]
        if layout.split_column and not named.part:
            found = parts.get(row.line, "")
            expected = "expected train, val (or validation) or holdout (or test)"
            bad.append((named, f"{layout.split_column} is {found[:80]!r}; {expected}"))
        elif apart:
            line, what = apart[0]
            bad.append(
                (named, f"its photo also occurs in line {line} in another {what}; it is unknown which one is right")
            )
        else:
            good.append(named)
    return good, bad


def _lines(rows: Iterable[Row], names: Mapping[int, str]) -> dict[str, dict[str, int]]:
    """For each photo, the first line of each name that its rows have. names: by line."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows:
        if row.line in names:
            found[row.path].setdefault(names[row.line], row.line)
    return found


def check_groups(rows: Iterable[Row], layout: Layout) -> None:
    """Raises DataError if the user's own split puts photos of one group into several parts."""
    first: dict[str, Row] = {}
    for row in rows:
        if not (row.group and row.part):
            continue
        other = first.setdefault(row.group, row)
        if other.part != row.part:
            raise DataError(
                f"{row.where}{row.path} is in {row.part} by data.split_column ({layout.split_column}), but line"
                f" {other.line}, of the same group {row.group[:80]!r} by data.group_column ({layout.group_column}), is"
                f" in {other.part}: put the whole group into one part, or leave out one of the two keys"
            )


def _cells(table: CsvFile, column: str | None, key: str) -> dict[int, str]:
    """Text of the column by line; empty without a column."""
    if column is None:
        return {}
    if column not in table.header:
        raise DataError(
            f"{table.path}: no column {column!r}, which {key} names; expected one of {','.join(table.header)[:80]}"
        )
    return {line: normalized_name(cells[0]) for line, cells, _ in table.cells((column,))}
