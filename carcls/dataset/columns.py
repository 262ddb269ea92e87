"""Guesses the columns of a CSV file that hold paths and labels if the user names none."""

from collections.abc import Sequence

from carcls.dataset.csv_rows import CsvFile
from carcls.dataset.layouts import Layout
from carcls.dataset.names import letters_only
from carcls.errors import DataError

_PATHS = (
    "path file filename filepath fname image img photo picture imagepath imgpath photopath imagename imgname imagefile",
    "id imageid imgid photoid fileid uuid",
)
_LABELS = (
    "label class category target classname labelname categoryname",
    "model carmodel vehiclemodel car makemodel bodytype breed species",
    "classid labelid categoryid brand make",
)
"""Normalised by `letters_only`. Later groups are only tried if no name of an earlier group is present."""


def path_and_label_columns(table: CsvFile, layout: Layout) -> tuple[str, str]:
    """Names of the two columns: those set in the layout, or else those with usual names.

    Raises DataError, naming the setting that decides, if none or several fit.
    """
    return (
        layout.path_column or _usual_column(table, _PATHS, "paths", "data.path_column"),
        layout.label_column or _usual_column(table, _LABELS, "labels", "data.label_column"),
    )


def _usual_column(table: CsvFile, groups: Sequence[str], what: str, key: str) -> str:
    for usual in groups:
        matches = [name for name in table.header if letters_only(name) in usual.split()]
        if len(matches) == 1:
            return matches[0]
        if matches:
            break
    found = (
        f"more than one may ({', '.join(matches)})"
        if matches
        else f"none is called {', '.join(' '.join(groups).split())}"
    )
    raise DataError(
        f"{table.path}: which column holds the {what}? {found}; set {key}. Columns: {','.join(table.header)[:80]}"
    )
