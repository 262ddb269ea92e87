"""Photos with labels, as the contest's or another CSV file names them, or as they lie in folders."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from carcls.data.candidates import Candidates, by_line, located, stray
from carcls.data.class_folders import NESTED, from_class_folders
from carcls.data.layouts import TRAIN_FOLDER, Found, LayoutKind, find_test_folder
from carcls.data.names import may_be_photo, path_key, same_text
from carcls.data.rows import CsvFile, Refused, Row, contest_rows, path_rows, read_csv
from carcls.data.tree import join
from carcls.errors import DataError

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "image", "photo", "id")
LABEL_COLUMNS = ("label", "class", "category", "target")
"""Column names, in any case, that are understood where the user names none."""


def labelled_candidates(found: Found) -> Candidates:
    """Labelled files. Raises DataError where the CSV file is missing, is none, or lacks a column."""
    if found.labels is None:
        return from_class_folders(found)
    table = read_csv(found.labels)
    if found.kind is LayoutKind.CONTEST:
        return _from_contest(found, table)
    rows, refused = path_rows(table, _path_and_label(table, found), "")
    folders = sorted({row.path.rpartition("/")[0] for row in rows}, key=path_key)
    return _of_rows(found, rows, refused, folders, {row.category: table.path.name for row in rows})


def _from_contest(found: Found, table: CsvFile) -> Candidates:
    rows, refused = contest_rows(table, _contest_columns(table), TRAIN_FOLDER)
    folders = [join(TRAIN_FOLDER, name) for name in found.tree.folders(TRAIN_FOLDER)]
    classes = {row.category: join(TRAIN_FOLDER, row.category) for row in rows}
    classes |= {same_text(path.removeprefix(f"{TRAIN_FOLDER}/")): path for path in folders if found.tree.is_empty(path)}
    return _of_rows(found, rows, refused, [TRAIN_FOLDER, *folders], classes)


def _of_rows(
    found: Found,
    rows: list[Row],
    refused: list[Refused],
    folders: Iterable[str],
    classes: Mapping[str, str],
) -> Candidates:
    there, missing = located(found.tree, rows)
    out = refused + missing
    named = {row.path for row in (*there, *(row for row, _ in out))}
    strays = [*_in_no_row(found, named, folders)]
    return Candidates(found.root, tuple(there), tuple(by_line(out) + strays), classes)


def _contest_columns(table: CsvFile) -> tuple[str, str]:
    """Raises DataError, with what else the file may be, where the contest's columns are missing."""
    columns = ("Id", "Category")
    if not set(columns) <= set(table.header):
        raise DataError(
            f"{table.path}: no columns {' and '.join(columns)} as in the contest's layout; found"
            f" `{','.join(table.header)[:80]}`. If it holds paths and labels, name it by data.labels"
        )
    return columns


def _path_and_label(table: CsvFile, found: Found) -> tuple[str, str]:
    return (
        found.layout.path_column or _usual_column(table, PATH_COLUMNS, "paths", "data.path_column"),
        found.layout.label_column or _usual_column(table, LABEL_COLUMNS, "labels", "data.label_column"),
    )


def _usual_column(table: CsvFile, usual: Sequence[str], what: str, key: str) -> str:
    matches = [name for name in table.header if name.casefold() in usual]
    if len(matches) == 1:
        return matches[0]
    found = f"more than one could ({', '.join(matches)})" if matches else f"none of {', '.join(usual)} is there"
    raise DataError(
        f"{table.path}: which column holds the {what}? {found}; name it by {key}."
        f" Columns: {','.join(table.header)[:80]}"
    )


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
            if not kind.is_folder and may_be_photo(name):
                yield stray(path), str(kind) or f"in no row of {table}"
            elif kind.is_folder and found.classes not in ("", folder):
                yield stray(path), NESTED
