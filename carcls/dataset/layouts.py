"""Where the labels and the photos of a data folder are: the contest's layout, a CSV file, or a folder per class.

contest          <root>/train.csv (Id,Category), <root>/train/<Category>/<Id>
CSV              <root>/labels.csv or train.csv, or the file that the layout names: a column of paths and one of labels
class folders    <root>/train/<class>/<photo>, or <root>/<class>/<photo>; nested: <brand>/<model>/<photo>
held back        <root>/val, valid or validation beside <root>/train: the photos to validate on
to predict       <root>/test_upload or <root>/test, or the folder that the layout names; with or without folders inside
their order      <root>/sample-submission.csv (Id first) in any spelling, or the file that the layout names
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from carcls.dataset.csv_rows import read_csv
from carcls.dataset.tree import Kind, Tree, join
from carcls.errors import DataError

TRAIN_CSV = "train.csv"
LABELS_CSV = "labels.csv"
TRAIN_FOLDER = "train"
TEST_FOLDERS = ("test_upload", "test")
VALIDATION_FOLDERS = ("val", "valid", "validation")
SAMPLE_CSV = "sample-submission.csv"
CONTEST_COLUMNS = ("Id", "Category")


@dataclass(frozen=True, slots=True)
class Layout:
    """What the user says of a data folder; None: looked for."""

    labels: Path | None = None
    """CSV file with a path, relative to the data folder, and a label in each row."""
    path_column: str | None = None
    """Its column of paths; None: the one with a usual name."""
    label_column: str | None = None
    test: Path | None = None
    """Folder of photos without labels."""
    sample: Path | None = None
    """Sample submission: which of them are asked for, and in what order."""
    extension: str | None = None
    """Ending, such as `.jpg`, of photos that CSV files name without; None: the one that fits."""
    nested: bool = False
    """Whether each folder of photos is a class, however deep it lies; its name is then its path, `Audi/A4`."""


class LayoutKind(StrEnum):
    """How photos are labelled."""

    CONTEST = "the contest's layout"
    CSV = "a CSV file of paths and labels"
    FOLDERS = "a folder per class"


@dataclass(frozen=True, slots=True)
class Found:
    """A data folder whose layout is known."""

    kind: LayoutKind
    root: Path
    tree: Tree
    labels: Path | None
    """The CSV file; None for class folders."""
    classes: str
    """The folder of the class folders, relative to the root; empty for the root itself, and where there are none."""
    layout: Layout
    validation: str = ""
    """The folder of photos to validate on, relative to the root; empty where there is none."""


def find_layout(root: Path, layout: Layout) -> Found:
    """Which layout the folder has. Raises DataError where none fits, or more than one."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected the folder with the photos")
    tree = Tree(root, (TRAIN_FOLDER, *TEST_FOLDERS, *VALIDATION_FOLDERS))
    if layout.labels is not None:
        return Found(LayoutKind.CSV, root, tree, layout.labels, "", layout, _validation_folder(root))
    names = tree.listed("").entries
    tables = [name for wanted in (TRAIN_CSV, LABELS_CSV) for name in names if name.casefold() == wanted]
    if len(tables) > 1:
        raise DataError(
            f"{root}: holds both {' and '.join(tables)}; say by data.labels which has the labels, or remove one"
        )
    if tables:
        labels = root / tables[0]
        if tables[0].casefold() == TRAIN_CSV and _is_contest(labels, layout):
            return Found(LayoutKind.CONTEST, root, tree, labels, TRAIN_FOLDER, layout)
        return Found(LayoutKind.CSV, root, tree, labels, "", layout, _validation_folder(root))
    if layout.path_column or layout.label_column:
        raise DataError(
            f"{root}: data.path_column and data.label_column are columns of a CSV file, but there is no {TRAIN_CSV} or"
            f" {LABELS_CSV}; name the file by data.labels"
        )
    classes = _class_folders(root, tree, layout)
    return Found(LayoutKind.FOLDERS, root, tree, None, classes, layout, _validation_folder(root) if classes else "")


def _is_contest(labels: Path, layout: Layout) -> bool:
    """By its columns; where the user names columns, these count. Raises DataError where it is no CSV file."""
    return not (layout.path_column or layout.label_column) and set(CONTEST_COLUMNS) <= set(read_csv(labels).header)


def _validation_folder(root: Path) -> str:
    """Beside `train`, or empty. Raises DataError where there are two."""
    found = [name for name in VALIDATION_FOLDERS if (root / name).is_dir() and (root / TRAIN_FOLDER).is_dir()]
    if len(found) > 1:
        raise DataError(f"{root}: holds both {' and '.join(found)}; keep the one whose photos are to be validated on")
    return found[0] if found else ""


def find_test_folder(root: Path, layout: Layout) -> Path | None:
    """The folder of photos to predict, or None where there is none. Raises DataError where there are two."""
    if layout.test is not None:
        if not layout.test.is_dir():
            raise DataError(f"{layout.test}: no such folder; expected the photos to predict (data.test)")
        return layout.test
    found = [root / name for name in TEST_FOLDERS if (root / name).is_dir()]
    if len(found) > 1:
        raise DataError(
            f"{root}: holds both {' and '.join(TEST_FOLDERS)}; say by data.test which one is to be predicted"
        )
    return found[0] if found else None


def not_classes(root: Path, layout: Layout) -> frozenset[str]:
    """Folders of photos to predict, relative to the root."""
    named = {layout.test.relative_to(root).as_posix()} if layout.test and layout.test.is_relative_to(root) else set()
    return frozenset((*TEST_FOLDERS, *named))


def _class_folders(root: Path, tree: Tree, layout: Layout) -> str:
    """`train`, or empty for the root itself."""
    inside, beside = (
        [
            name
            for name in tree.folders(folder)
            if join(folder, name) not in not_classes(root, layout)
            and _holds_photos(tree, join(folder, name), layout.nested and join(folder, name) != TRAIN_FOLDER)
        ]
        for folder in (TRAIN_FOLDER, "")
    )
    beside = [name for name in beside if not (inside and name in VALIDATION_FOLDERS)]
    if inside and beside:
        raise DataError(
            f"{root}: photos both in {TRAIN_FOLDER}/{inside[0]} and in {beside[0]}; expected all class folders in"
            f" {TRAIN_FOLDER}, or all beside each other. Move some, or let data.root be {root / TRAIN_FOLDER}"
        )
    if TRAIN_FOLDER in beside:
        raise DataError(
            f"{root}: photos lie in {TRAIN_FOLDER} itself, without a class; expected {TRAIN_FOLDER}/<class>/<photo>, or"
            f" a CSV file with their labels ({TRAIN_CSV}, {LABELS_CSV}, or the file that data.labels names)"
            f"{_found(tables_beside(tree))}"
        )
    if not inside and not beside:
        raise DataError(_nothing_fits(root, tree, layout))
    return TRAIN_FOLDER if inside else ""


def tables_beside(tree: Tree) -> list[str]:
    """Paths of CSV files in the data folder and in `train` that may hold labels: all but sample submissions."""
    return [
        join(folder, name)
        for folder in ("", TRAIN_FOLDER)
        for name, kind in tree.listed(folder).entries.items()
        if kind is Kind.FILE and name.lower().endswith((".csv", ".tsv")) and not reads_like_a_sample(name)
    ]


def is_sample_name(name: str) -> bool:
    """True for `sample-submission.csv` in any spelling, such as `SampleSubmission.csv`."""
    stem, _, ending = name.casefold().rpartition(".")
    return ending == "csv" and _letters(stem) == "samplesubmission"


def reads_like_a_sample(name: str) -> bool:
    """True for names that somebody may take for the sample's, such as `sample_submission.csv.txt`."""
    return any(word in _letters(name) for word in ("samplesub", "submission"))


def _letters(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def _holds_photos(tree: Tree, folder: str, nested: bool) -> bool:
    """nested: also in folders inside."""
    beside = ((join(folder, name), kind) for name, kind in tree.listed(folder).entries.items())
    entries = tree.walk(folder) if nested else beside
    return any(kind is Kind.FILE and tree.may_be_photo(path, kind) for path, kind in entries)


def _nothing_fits(root: Path, tree: Tree, layout: Layout) -> str:
    entries = tree.listed("").entries
    photos = sum(kind is Kind.FILE and tree.may_be_photo(name, kind) for name, kind in entries.items())
    found = [f"{name or 'a folder'} that {problem}" for name, problem in _closed(tree)]
    found += [f"{photos} photos without a class folder"] if photos else []
    inner = next(_nested(root, tree, layout), "")
    if inner:
        name = inner.removeprefix(f"{TRAIN_FOLDER}/")
        found.append(
            f"folders inside folders, such as {inner} (data.nested: true makes each of them a class, {name!r})"
        )
    tables = tables_beside(tree)
    nothing = "" if entries or found else "; found nothing"
    return (
        f"{root}: no labelled photos; looked for {TRAIN_CSV}, {LABELS_CSV}, {TRAIN_FOLDER}/<class>/<photo> and"
        f" <class>/<photo>{nothing or _found(tables, *found)}"
    )


def _nested(root: Path, tree: Tree, layout: Layout) -> Iterator[str]:
    """Folders that hold photos, two below the data folder or below `train`."""
    for top in (TRAIN_FOLDER, ""):
        for outer in tree.folders(top):
            folder = join(top, outer)
            if folder not in (TRAIN_FOLDER, *not_classes(root, layout)):
                yield from (
                    path
                    for path in (join(folder, name) for name in tree.folders(folder))
                    if _holds_photos(tree, path, True)
                )


def _found(tables: Sequence[str], *others: str) -> str:
    told = [*others, *(f"{name} (its labels are read where data.labels names it)" for name in tables[:1])]
    return f"; found {', '.join(told)}" if told else ""


def _closed(tree: Tree) -> list[tuple[str, str]]:
    """The data folder or its folder of classes, where they cannot be looked into."""
    listed = [(name, tree.listed(name).problem) for name in ("", TRAIN_FOLDER)]
    return [(name, problem) for name, problem in listed if problem]
