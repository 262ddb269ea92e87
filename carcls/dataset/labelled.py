"""Photos with labels, as the contest's or another CSV file names them, or as they lie in folders."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from carcls.dataset.candidates import Candidates, by_line, located, stray
from carcls.dataset.class_folders import NESTED, from_class_folders
from carcls.dataset.columns import path_and_label
from carcls.dataset.csv_rows import CsvFile, Refused, Row, contest_rows, path_rows, read_csv, settled
from carcls.dataset.layouts import CONTEST_COLUMNS, TRAIN_FOLDER, Found, LayoutKind, find_test_folder
from carcls.dataset.lookup import PhotoLookup
from carcls.dataset.names import path_key, same_text
from carcls.dataset.tables_beside import labels_lookup, with_tables_beside
from carcls.dataset.tree import join


def labelled_candidates(found: Found) -> Candidates:
    """Labelled files. Raises DataError where the CSV file is missing, is none, or lacks a column, and where a CSV file
    that no setting names contradicts the class folders."""
    if found.labels is None:
        return with_tables_beside(found, from_class_folders(found))
    table = read_csv(found.labels)
    if found.kind is LayoutKind.CONTEST:
        return _from_contest(found, table)
    rows, refused = path_rows(table, path_and_label(table, found.layout), "")
    classes = {row.category: table.path.name for row in rows}
    return _of_rows(found, (rows, refused), classes, lookup=labels_lookup(found))


def _from_contest(found: Found, table: CsvFile) -> Candidates:
    rows, refused = contest_rows(table, CONTEST_COLUMNS, TRAIN_FOLDER)
    folders = [join(TRAIN_FOLDER, name) for name in found.tree.folders(TRAIN_FOLDER)]
    classes = {row.category: join(TRAIN_FOLDER, row.category) for row in rows}
    classes |= {same_text(path.removeprefix(f"{TRAIN_FOLDER}/")): path for path in folders if found.tree.is_empty(path)}
    lookup = PhotoLookup(found.tree, extension=found.layout.extension)
    return _of_rows(found, (rows, refused), classes, lookup=lookup, folders=(TRAIN_FOLDER, *folders))


def _of_rows(
    found: Found,
    read: tuple[list[Row], list[Refused]],
    classes: Mapping[str, str],
    *,
    lookup: PhotoLookup,
    folders: Sequence[str] = (),
) -> Candidates:
    """folders: where photos that no row names are looked for; empty: where those that rows name lie."""
    rows, refused = read
    there, missing = located(lookup, rows)
    there, out = settled(there, refused + missing, "its photo", key=lambda row: row.path)
    folders = folders or sorted({row.path.rpartition("/")[0] for row in there}, key=path_key)
    named = {row.path for row in (*there, *(row for row, _ in out))}
    strays = [*_in_no_row(found, named, folders)]
    return Candidates(found.root, tuple(there), tuple(by_line(out) + strays), classes)


def _in_no_row(found: Found, named: Container[str], folders: Iterable[str]) -> Iterator[Refused]:
    """Photos in the folders of labelled ones that no row names, and folders that cannot be looked into."""
    test = find_test_folder(found.root, found.layout)
    table = found.labels.name if found.labels else ""
    for folder in folders:
        if test is not None and found.root / folder == test:
            continue
        listed = found.tree.listed(folder)
        if listed.problem:
            yield stray(folder), listed.problem
        for name, kind in listed.entries.items():
            path = join(folder, name)
            if path in named:
                continue
            if not kind.is_folder and found.tree.may_be_photo(path, kind):
                yield stray(path), str(kind) or f"in no row of {table}"
            elif kind.is_folder and found.classes not in ("", folder):
                yield stray(path), NESTED
