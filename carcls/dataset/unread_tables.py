"""CSV files next to class folders that no setting names: reported, and rejected if they contradict the folders."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from carcls.dataset.candidates import Candidates, locate_rows, stray_row
from carcls.dataset.columns import path_and_label_columns
from carcls.dataset.csv_rows import Row, path_rows, read_csv
from carcls.dataset.layouts import DataFolder, prediction_folders, unread_csv_files
from carcls.dataset.lookup import PhotoLookup
from carcls.errors import DataError

UNREAD_TABLE = "not read, since the photos are in class folders; set data.labels to read labels from it"


def labels_lookup(found: DataFolder) -> PhotoLookup:
    """Lookup of photos for rows of paths and labels: everywhere except in folders of photos to predict."""
    others = prediction_folders(found.root, found.layout)
    return PhotoLookup(found.tree, extension=found.layout.extension, below="", exclude=others)


def with_unread_tables(found: DataFolder, candidates: Candidates) -> Candidates:
    """Adds each unread CSV file to the rejected entries. Raises DataError if one contradicts the class folders."""
    names = unread_csv_files(found.tree)
    for name in names:
        _check_table(found, name, candidates.rows)
    unread = tuple((stray_row(name), UNREAD_TABLE) for name in names)
    return replace(candidates, refused=(*candidates.refused, *unread))


def _check_table(found: DataFolder, name: str, rows: Iterable[Row]) -> None:
    """Raises DataError if folders and file group photos differently. They may use different class names."""
    try:
        table = read_csv(found.root / name)
        labelled, _ = path_rows(table, path_and_label_columns(table, found.layout), "")
    except DataError:  # apparently not a file of labels
        return
    folder_of = {row.path: row.category for row in rows}
    labels, folders = defaultdict(set), defaultdict(set)
    for row in locate_rows(labels_lookup(found), labelled)[0]:
        if row.path in folder_of:
            labels[folder_of[row.path]].add(row.category)
            folders[row.category].add(folder_of[row.path])
    both = next((sorted(names)[:2] for names in (*labels.values(), *folders.values()) if len(names) > 1), None)
    if both:
        raise DataError(
            f"{found.root / name}: contradicts the class folders ({both[0]!r} and {both[1]!r} are one class in one of"
            " them and two in the other); set data.labels to use the file's labels, or move it away"
        )
