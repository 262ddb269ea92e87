"""Photos that the user leaves out by a list, such as those that `carsearch data audit` found mislabelled."""

from collections.abc import Sequence
from pathlib import Path

from carcls.dataset.csv_rows import Refused, Row, read_csv
from carcls.errors import DataError
from carcls.system.csv_cells import unescape_cell

_COLUMN = "path"


def without_excluded(rows: Sequence[Row], path: Path | None) -> tuple[tuple[Row, ...], tuple[Refused, ...]]:
    """The rows to use, and those that the list names. path: a CSV file with a column `path`, or None.

    Paths are relative to the data folder, as in the lists that carsearch writes. Raises DataError if the file cannot
    be read, or names a photo that is not labelled in this folder.
    """
    if path is None:
        return tuple(rows), ()
    table = read_csv(path, errors="surrogateescape")  # names of photos may not be UTF-8
    if _COLUMN not in table.header:
        raise DataError(f"{path}: expected a column {_COLUMN!r}, found {', '.join(table.header) or 'none'}")
    at = table.header.index(_COLUMN)
    named = ((cells[at].strip(), line) for line, cells in table.lines if at < len(cells))
    lines = {unescape_cell(cell): line for cell, line in named if cell}
    known = {row.path for row in rows}
    for name, line in lines.items():
        if name not in known:
            raise DataError(f"{path}:{line}: {name!r} is no labelled photo of this data folder; remove that line")
    reason = f"excluded by {path.name}"
    return (
        tuple(row for row in rows if row.path not in lines),
        tuple((row, reason) for row in rows if row.path in lines),
    )
