"""Folders and files beside those that a CSV file names: a user may expect their photos or labels to be used."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath

from carcls.dataset.candidates import locate_rows, stray_row
from carcls.dataset.columns import path_and_label_columns
from carcls.dataset.csv_rows import Refused, path_rows, read_csv
from carcls.dataset.layouts import (
    TRAIN_FOLDER,
    DataFolder,
    LayoutKind,
    prediction_folders,
    unread_csv_files,
)
from carcls.dataset.names import PHOTO_SUFFIXES, path_key
from carcls.dataset.split_names import VALIDATION_FOLDERS
from carcls.dataset.tree import Kind, join
from carcls.dataset.unread_tables import labels_lookup
from carcls.errors import DataError

_STUDY_FILE = "study.log"
"""File in the folder of each of carsearch's studies, whose pictures are no photos to train on."""


def beside_the_rows(found: DataFolder, paths: Iterable[str]) -> Iterator[Refused]:
    """What the CSV file of a data folder leaves unread, once each: folders of photos in which it names none, photos
    above the folders that it names, and other CSV files that label photos.

    paths: the photos that it names, as found on disk. Photos beside these are not looked at.
    """
    table, named = found.labels.name if found.labels else "", set(paths)
    with_rows = {str(PurePosixPath(path).parent) for path in named}
    above = {str(parent) for folder in with_rows for parent in PurePosixPath(folder).parents}
    if found.kind is LayoutKind.CONTEST:  # everything in `train` is looked at
        with_rows, above = {TRAIN_FOLDER}, {"."}
    for folder in sorted(("" if name == "." else name for name in {".", *with_rows, *above}), key=path_key):
        yield from _folders_without(found, folder, {*with_rows, *above}, table)
        if (folder or ".") not in with_rows:
            yield from _loose(found, folder, table)
    yield from _other_tables(found, named, table)


def _folders_without(found: DataFolder, parent: str, known: Collection[str], table: str) -> Iterator[Refused]:
    if found.kind is LayoutKind.CONTEST and parent:
        return
    for name in found.tree.folders(parent):
        folder = join(parent, name)
        if folder not in known and _holds_photos(found, folder):
            yield stray_row(folder), _why_unread(found, folder, table)


def _holds_photos(found: DataFolder, folder: str) -> bool:
    """Whether a photo is below the folder, but for those that something else reads or has made."""
    return any(
        kind is Kind.FILE and found.tree.may_be_photo(path, kind) and not _is_of_something_else(found, path)
        for path, kind in found.tree.walk(folder)
    )


def _is_of_something_else(found: DataFolder, path: str) -> bool:
    """Whether a photo is to predict, an extra one, or a picture that a study has made."""
    if _is_to_predict(found, path) or found.is_extra(path):
        return True
    parents = list(PurePosixPath(path).parents)[:-1]  # without the data folder itself
    return any(_STUDY_FILE in found.tree.listed(str(parent)).entries for parent in parents)


def _is_to_predict(found: DataFolder, path: str) -> bool:
    return path.startswith(tuple(f"{name}/" for name in prediction_folders(found.root, found.layout)))


def _why_unread(found: DataFolder, folder: str, table: str) -> str:
    if found.kind is LayoutKind.CONTEST and folder in VALIDATION_FOLDERS:
        return (
            f"not read, since {table} names photos in {TRAIN_FOLDER} only; move its photos there and name their part by"
            f" data.split_column, or move {table} away to read class folders"
        )
    return f"no row of {table} names a photo in it"


def _loose(found: DataFolder, folder: str, table: str) -> Iterator[Refused]:
    """Photos by their suffix: a name without one may be a README."""
    for name, kind in found.tree.listed(folder).entries.items():
        if kind is Kind.FILE and PurePosixPath(name).suffix.lower() in PHOTO_SUFFIXES:
            yield stray_row(join(folder, name)), f"in no row of {table}"


def _other_tables(found: DataFolder, named: Collection[str], table: str) -> Iterator[Refused]:
    read = {path.absolute() for path in (found.labels, found.layout.exclude, found.layout.sample) if path}
    for name in unread_csv_files(found.tree):
        if (found.root / name).absolute() not in read and _labels_others(found, name, named):
            yield stray_row(name), f"not read, since {table} holds the labels; add the rows of its photos there"


def _labels_others(found: DataFolder, name: str, named: Collection[str]) -> bool:
    """Whether a CSV file labels photos that are neither in `named` nor to predict."""
    try:
        table = read_csv(found.root / name)
        rows, _ = path_rows(table, path_and_label_columns(table, found.layout), "")
    except DataError:  # apparently not a file of labels
        return False
    there, _ = locate_rows(labels_lookup(found), rows)
    return any(row.path not in named and not _is_to_predict(found, row.path) for row in there)
