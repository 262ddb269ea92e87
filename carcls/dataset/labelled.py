"""Finds labelled photos: from the competition's CSV file, another CSV file, or class folders."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from carcls.dataset.candidates import Candidates, locate_rows, sorted_by_line, stray_row
from carcls.dataset.class_folders import NESTED, from_class_folders
from carcls.dataset.columns import path_and_label_columns
from carcls.dataset.csv_rows import CsvFile, Refused, Row, contest_rows, path_rows, read_csv, without_duplicates
from carcls.dataset.layouts import CONTEST_COLUMNS, TRAIN_FOLDER, DataFolder, LayoutKind, find_test_folder
from carcls.dataset.lookup import PhotoLookup
from carcls.dataset.names import normalized_name, path_key
from carcls.dataset.own_columns import with_own_columns
from carcls.dataset.tree import join
from carcls.dataset.unread_folders import beside_the_rows
from carcls.dataset.unread_tables import labels_lookup, with_unread_tables


def labelled_candidates(found: DataFolder) -> Candidates:
    """The labelled files.

    Raises DataError if the CSV file is missing, invalid or lacks a column, and if a CSV file that no setting names
    contradicts the class folders.
    """
    if found.labels is None:
        return with_unread_tables(found, from_class_folders(found))
    table = read_csv(found.labels)
    if found.kind is LayoutKind.CONTEST:
        return _from_contest(found, table)
    read = path_rows(table, path_and_label_columns(table, found.layout), "")
    rows, refused = with_own_columns(table, *read, found.layout)
    classes = {row.category: table.path.name for row in rows}
    return _of_rows(found, (rows, refused), classes, lookup=labels_lookup(found))


def _from_contest(found: DataFolder, table: CsvFile) -> Candidates:
    rows, refused = with_own_columns(table, *contest_rows(table, CONTEST_COLUMNS, TRAIN_FOLDER), found.layout)
    folders = [join(TRAIN_FOLDER, name) for name in found.tree.folders(TRAIN_FOLDER)]
    classes = {row.category: join(TRAIN_FOLDER, row.category) for row in rows}
    classes |= {
        normalized_name(path.removeprefix(f"{TRAIN_FOLDER}/")): path for path in folders if found.tree.is_empty(path)
    }
    lookup = PhotoLookup(found.tree, extension=found.layout.extension)
    return _of_rows(found, (rows, refused), classes, lookup=lookup, folders=(TRAIN_FOLDER, *folders))


def _of_rows(
    found: DataFolder,
    read: tuple[list[Row], list[Refused]],
    classes: Mapping[str, str],
    *,
    lookup: PhotoLookup,
    folders: Sequence[str] = (),
) -> Candidates:
    """folders: where to look for photos that no row names; empty for the folders of the named photos."""
    rows, refused = read
    located, missing = locate_rows(lookup, rows)
    there, out = without_duplicates(located, refused + missing, "its photo", key=lambda row: row.path)
    folders = folders or sorted({row.path.rpartition("/")[0] for row in located}, key=path_key)
    named = {row.path for row in (*there, *(row for row, _ in out))}
    strays = [*_in_no_row(found, named, folders)]
    unread = tuple(beside_the_rows(found, [row.path for row in located]))
    return Candidates(found.root, tuple(there), tuple(sorted_by_line(out) + strays), classes, unread)


def _in_no_row(found: DataFolder, named: Container[str], folders: Iterable[str]) -> Iterator[Refused]:
    """Photos in `folders` that no row names, and folders that cannot be listed."""
    test = find_test_folder(found.root, found.layout)
    table = found.labels.name if found.labels else ""
    for folder in folders:
        if test is not None and found.root / folder == test:
            continue
        listed = found.tree.listed(folder)
        if listed.problem:
            yield stray_row(folder), listed.problem
        for name, kind in listed.entries.items():
            path = join(folder, name)
            if path in named:
                continue
            if not kind.is_folder and found.tree.may_be_photo(path, kind):
                yield stray_row(path), str(kind) or f"in no row of {table}"
            elif kind.is_folder and found.classes not in ("", folder):
                yield stray_row(path), NESTED
