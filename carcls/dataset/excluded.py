"""Photos that the user leaves out by a list, such as those that `carsearch data audit` found mislabelled."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from carcls.dataset.csv_rows import Refused, Row, read_csv
from carcls.dataset.names import normalized_path
from carcls.errors import DataError
from carcls.system.csv_cells import unescape_cell

_COLUMN = "path"


def without_excluded(rows: Sequence[Row], path: Path | None) -> tuple[tuple[Row, ...], tuple[Refused, ...]]:
    """The rows to use, and those that the list names. path: a CSV file with a column `path`, or None.

    Paths are relative to the data folder, as in the lists that carsearch writes, in either Unicode form. Raises
    DataError if the file cannot be read, or names a photo that is not labelled in this folder.
    """
    if path is None:
        return tuple(rows), ()
    table = read_csv(path, errors="surrogateescape")  # names of photos may not be UTF-8
    if _COLUMN not in table.header:
        raise DataError(f"{path}: expected a column {_COLUMN!r}, found {', '.join(table.header) or 'none'}")
    at = table.header.index(_COLUMN)
    named = ((cells[at].strip(), line) for line, cells in table.lines if at < len(cells))
    lines = {unescape_cell(cell): line for cell, line in named if cell}
    left_out = _located(lines, [row.path for row in rows], path)
    reason = f"excluded by {path.name}"
    return (
        tuple(row for row in rows if row.path not in left_out),
        tuple((row, reason) for row in rows if row.path in left_out),
    )


def _located(lines: Mapping[str, int], known: Sequence[str], file: Path) -> set[str]:
    """The known paths that are named: as spelled, or else in another Unicode form or with other outer spaces.

    lines: line of each name in the file. Raises DataError for a name of no known path.
    """
    found = lines.keys() & set(known)
    others = lines.keys() - found
    spellings: dict[str, list[str]] = defaultdict(list)
    for path in known if others else ():
        spellings[normalized_path(path)].append(path)
    for name in sorted(others, key=lines.__getitem__):
        paths = spellings.get(normalized_path(name))
        if paths is None:
            raise DataError(
                f"{file}:{lines[name]}: {name!r} is no labelled photo of this data folder; remove that line"
            )
        found.update(paths)
    return found
