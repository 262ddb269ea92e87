"""Detects the layout of a data folder: the competition's layout, a CSV file of labels, or one folder per class.

competition      <root>/train.csv (Id,Category), <root>/train/<Category>/<Id>
CSV              <root>/labels.csv or train.csv, or the configured file: a column of paths and one of labels
class folders    <root>/train/<class>/<photo>, or <root>/<class>/<photo>; nested: <brand>/<model>/<photo>
validation       <root>/val, valid or validation beside <root>/train
to predict       <root>/test_upload or <root>/test, or the configured folder; may contain folders
their order      <root>/sample-submission.csv (Id first) in any spelling, or the configured file
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from carcls.dataset.csv_rows import read_csv
from carcls.dataset.names import letters_only
from carcls.dataset.split_names import VALIDATION_FOLDERS, split_advice, split_folders
from carcls.dataset.tree import Kind, Tree, join
from carcls.errors import DataError

TRAIN_CSV = "train.csv"
LABELS_CSV = "labels.csv"
TRAIN_FOLDER = "train"
TEST_FOLDERS = ("test_upload", "test")
SAMPLE_CSV = "sample-submission.csv"
CONTEST_COLUMNS = ("Id", "Category")


@dataclass(frozen=True, slots=True)
class Layout:
    """The user's settings for a data folder. None means automatic detection."""

    labels: Path | None = None
    """CSV file with a path, relative to the data folder, and a label in each row."""
    path_column: str | None = None
    """Its column of paths, or None for the one with a usual name."""
    label_column: str | None = None
    test: Path | None = None
    """Folder of photos without labels."""
    sample: Path | None = None
    """Sample submission: which of these photos to predict, and in what order."""
    extension: str | None = None
    """Suffix, such as `.jpg`, that CSV files omit, or None for the one that matches a file."""
    group_column: str | None = None
    """Column whose equal values name photos that stay together, such as those of one car; None for no groups."""
    split_column: str | None = None
    """Column of the user's own split, or None to draw one."""
    exclude: Path | None = None
    """CSV file with a column `path` of photos to leave out, or None."""
    extra: Path | None = None
    """Folder of more labelled photos, which are read on their own, or None. It may be below the data folder."""
    nested: bool = False
    """Whether every folder of photos at any depth is a class, named after its path, such as `Audi/A4`."""

    def is_extra(self, root: Path, path: str) -> bool:
        """Whether a path, relative to the data folder, is the folder of extra photos in it, or below that."""
        if self.extra is None or root.absolute() not in self.extra.absolute().parents:
            return False
        return (root / path).absolute().is_relative_to(self.extra.absolute())


class LayoutKind(StrEnum):
    """How photos are labelled."""

    CONTEST = "the contest's layout"
    CSV = "a CSV file of paths and labels"
    FOLDERS = "a folder per class"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A data folder whose layout is known."""

    kind: LayoutKind
    root: Path
    tree: Tree
    labels: Path | None
    """The CSV file, or None for class folders."""
    classes: str
    """Parent of the class folders, relative to the root; empty for the root itself or if there are none."""
    layout: Layout
    validation: str = ""
    """The folder of validation photos, relative to the root; empty if there is none."""

    def is_extra(self, path: str) -> bool:
        """Whether a path, relative to the root, is the folder of extra photos or below it."""
        return self.layout.is_extra(self.root, path)


def find_layout(root: Path, layout: Layout) -> DataFolder:
    """Detects the layout. Raises DataError if none fits or more than one."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected the folder with the photos")
    tree = Tree(root, (TRAIN_FOLDER, *TEST_FOLDERS, *VALIDATION_FOLDERS))
    if layout.labels is not None:
        return DataFolder(LayoutKind.CSV, root, tree, layout.labels, "", layout, _validation_folder(root))
    names = tree.listed("").entries
    tables = [name for wanted in (TRAIN_CSV, LABELS_CSV) for name in names if name.casefold() == wanted]
    if len(tables) > 1:
        raise DataError(
            f"{root}: holds both {' and '.join(tables)}; set data.labels to the one with the labels, or remove one"
        )
    if tables:
        labels = root / tables[0]
        if tables[0].casefold() == TRAIN_CSV and _is_contest(labels, layout):
            return DataFolder(LayoutKind.CONTEST, root, tree, labels, TRAIN_FOLDER, layout)
        return DataFolder(LayoutKind.CSV, root, tree, labels, "", layout, _validation_folder(root))
    _check_no_columns(root, layout)
    classes = _class_folders(root, tree, layout)
    return DataFolder(
        LayoutKind.FOLDERS, root, tree, None, classes, layout, _validation_folder(root) if classes else ""
    )


def _check_no_columns(root: Path, layout: Layout) -> None:
    """Raises DataError if the user names columns although there is no CSV file."""
    keys = ("path_column", "label_column", "group_column", "split_column")
    named = [f"data.{key}" for key in keys if getattr(layout, key)]
    if named:
        are = "are columns" if len(named) > 1 else "is a column"
        raise DataError(
            f"{root}: {' and '.join(named)} {are} of a CSV file, but there is no {TRAIN_CSV} or {LABELS_CSV}; set"
            " data.labels"
        )


def _is_contest(labels: Path, layout: Layout) -> bool:
    """Decides by the file's columns, unless the user has set columns. Raises DataError if it is not valid CSV."""
    return not (layout.path_column or layout.label_column) and set(CONTEST_COLUMNS) <= set(read_csv(labels).header)


def _validation_folder(root: Path) -> str:
    """The validation folder beside `train`, or empty. Raises DataError if there are two."""
    found = [name for name in VALIDATION_FOLDERS if (root / name).is_dir() and (root / TRAIN_FOLDER).is_dir()]
    if len(found) > 1:
        raise DataError(f"{root}: holds both {' and '.join(found)}; keep the one to validate on")
    return found[0] if found else ""


def find_test_folder(root: Path, layout: Layout) -> Path | None:
    """The folder of photos to predict, or None. Raises DataError if there are two."""
    if layout.test is not None:
        if not layout.test.is_dir():
            raise DataError(f"{layout.test}: no such folder; expected the photos to predict (data.test)")
        return layout.test
    found = [root / name for name in TEST_FOLDERS if (root / name).is_dir()]
    if len(found) > 1:
        raise DataError(f"{root}: holds both {' and '.join(TEST_FOLDERS)}; set data.test to the one to predict")
    return found[0] if found else None


def prediction_folders(root: Path, layout: Layout) -> frozenset[str]:
    """Folders of photos to predict, relative to the root."""
    named = {layout.test.relative_to(root).as_posix()} if layout.test and layout.test.is_relative_to(root) else set()
    return frozenset((*TEST_FOLDERS, *named))


def _class_folders(root: Path, tree: Tree, layout: Layout) -> str:
    """`train`, or empty for the root itself."""
    inside, beside = (
        [
            name
            for name in tree.folders(folder)
            if join(folder, name) not in prediction_folders(root, layout)
            and not layout.is_extra(root, join(folder, name))
            and _holds_photos(tree, join(folder, name), layout.nested and join(folder, name) != TRAIN_FOLDER)
        ]
        for folder in (TRAIN_FOLDER, "")
    )
    beside = [name for name in beside if not (inside and name in VALIDATION_FOLDERS)]
    if inside and beside:
        raise DataError(
            f"{root}: photos both in {TRAIN_FOLDER}/{inside[0]} and in {beside[0]}; expected all class folders in"
            f" {TRAIN_FOLDER}, or all in the data folder. Move some, or set data.root to {root / TRAIN_FOLDER}"
        )
    if TRAIN_FOLDER in beside:
        raise DataError(
            f"{root}: photos in {TRAIN_FOLDER} itself, without a class; expected {TRAIN_FOLDER}/<class>/<photo>, or"
            f" a CSV file with their labels ({TRAIN_CSV}, {LABELS_CSV}, or the file set by data.labels)"
            f"{_found(unread_csv_files(tree))}"
        )
    if not inside and not beside:
        raise DataError(_nothing_fits(root, tree, layout))
    return TRAIN_FOLDER if inside else ""


def unread_csv_files(tree: Tree) -> list[str]:
    """CSV files in the data folder and in `train` that may hold labels: all except sample submissions."""
    return [
        join(folder, name)
        for folder in ("", TRAIN_FOLDER)
        for name, kind in tree.listed(folder).entries.items()
        if kind is Kind.FILE and name.lower().endswith((".csv", ".tsv")) and not resembles_sample_name(name)
    ]


def is_sample_name(name: str) -> bool:
    """True for `sample-submission.csv` in any spelling, such as `SampleSubmission.csv`."""
    stem, _, ending = name.casefold().rpartition(".")
    return ending == "csv" and letters_only(stem) == "samplesubmission"


def resembles_sample_name(name: str) -> bool:
    """True for names that a user may mistake for the sample's, such as `sample_submission.csv.txt`."""
    return any(word in letters_only(name) for word in ("samplesub", "submission"))


def _holds_photos(tree: Tree, folder: str, nested: bool) -> bool:
    """nested: also look in subfolders."""
    beside = ((join(folder, name), kind) for name, kind in tree.listed(folder).entries.items())
    entries = tree.walk(folder) if nested else beside
    return any(kind is Kind.FILE and tree.may_be_photo(path, kind) for path, kind in entries)


def _nothing_fits(root: Path, tree: Tree, layout: Layout) -> str:
    entries = tree.listed("").entries
    photos = sum(kind is Kind.FILE and tree.may_be_photo(name, kind) for name, kind in entries.items())
    found = [f"{name or 'a folder'} that {problem}" for name, problem in _closed(tree)]
    found += [f"{photos} photos without a class folder"] if photos else []
    top, inner = _nested(root, tree, layout)
    parts = [join(top, name) for name in split_folders(inner)]
    if parts:
        found.append(
            f"{' and '.join(parts)} ({split_advice(root, parts)}; if these are classes, data.nested: true makes each"
            " folder of photos a class)"
        )
    elif inner:
        found.append(
            f"folders inside folders, such as {join(top, inner[0])} (data.nested: true makes each of them a class,"
            f" {inner[0]!r})"
        )
    tables = unread_csv_files(tree)
    nothing = "" if entries or found else "; found nothing"
    return (
        f"{root}: no labelled photos; looked for {TRAIN_CSV}, {LABELS_CSV}, {TRAIN_FOLDER}/<class>/<photo> and"
        f" <class>/<photo>{nothing or _found(tables, *found)}"
    )


def _nested(root: Path, tree: Tree, layout: Layout) -> tuple[str, list[str]]:
    """`train`, or empty for the data folder, and the paths of the folders of photos two or more levels below it."""
    others = (TRAIN_FOLDER, *prediction_folders(root, layout))
    for top in (TRAIN_FOLDER, ""):
        found: dict[str, None] = {}
        for outer in tree.folders(top):
            if join(top, outer) in others:
                continue
            for path, kind in tree.walk(join(top, outer)):
                folder = path.removeprefix(f"{top}/" if top else "").rpartition("/")[0]
                if "/" in folder and folder not in found and kind is Kind.FILE and tree.may_be_photo(path, kind):
                    found[folder] = None
        if found:
            return top, list(found)
    return "", []


def _found(tables: Sequence[str], *others: str) -> str:
    told = [*others, *(f"{name} (set data.labels to read labels from it)" for name in tables[:1])]
    return f"; found {', '.join(told)}" if told else ""


def _closed(tree: Tree) -> list[tuple[str, str]]:
    """The data folder or its `train` folder if they cannot be listed, with the reason."""
    listed = [(name, tree.listed(name).problem) for name in ("", TRAIN_FOLDER)]
    return [(name, problem) for name, problem in listed if problem]
