"""CSV files beside class folders that no setting names: told, and refused where they label photos otherwise."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from carcls.dataset.candidates import Candidates, located, stray
from carcls.dataset.columns import path_and_label
from carcls.dataset.csv_rows import Row, path_rows, read_csv
from carcls.dataset.layouts import Found, not_classes, tables_beside
from carcls.dataset.lookup import PhotoLookup
from carcls.errors import DataError

UNREAD_TABLE = "not read, since the photos lie in class folders; if it holds their labels, name it by data.labels"


def labels_lookup(found: Found) -> PhotoLookup:
    """Where rows of paths and labels find their photos: everywhere but among those to predict."""
    others = not_classes(found.root, found.layout)
    return PhotoLookup(found.tree, extension=found.layout.extension, below="", but_for=others)


def with_tables_beside(found: Found, candidates: Candidates) -> Candidates:
    """The candidates, and each CSV file that was not read. Raises DataError for one that contradicts their folders."""
    names = tables_beside(found.tree)
    for name in names:
        _check_table(found, name, candidates.rows)
    told = tuple((stray(name), UNREAD_TABLE) for name in names)
    return replace(candidates, refused=(*candidates.refused, *told))


def _check_table(found: Found, name: str, rows: Iterable[Row]) -> None:
    """Folders and file may call classes differently, but they have to tell the same photos apart."""
    try:
        table = read_csv(found.root / name)
        labelled, _ = path_rows(table, path_and_label(table, found.layout), "")
    except DataError:  # no file of labels, as far as we can tell
        return
    folder_of = {row.path: row.category for row in rows}
    labels, folders = defaultdict(set), defaultdict(set)
    for row in located(labels_lookup(found), labelled)[0]:
        if row.path in folder_of:
            labels[folder_of[row.path]].add(row.category)
            folders[row.category].add(folder_of[row.path])
    both = next((sorted(names)[:2] for names in (*labels.values(), *folders.values()) if len(names) > 1), None)
    if both:
        raise DataError(
            f"{found.root / name}: labels photos otherwise than their folders do ({both[0]!r} and {both[1]!r} are one"
            " class by the one and two by the other); name the file by data.labels to use its labels, or move it away"
        )
