"""Where the labels and the photos of a data folder are: the contest's layout, a CSV file, or a folder per class.

contest          <root>/train.csv (Id,Category), <root>/train/<Category>/<Id>
CSV              <root>/labels.csv, or the file that the layout names: a column of paths and one of labels
class folders    <root>/train/<class>/<photo>, or <root>/<class>/<photo>
to predict       <root>/test_upload or <root>/test, or the folder that the layout names; with or without folders inside
their order      <root>/sample-submission.csv (Id first) in any spelling, or the file that the layout names
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from carcls.data.names import may_be_photo
from carcls.data.tree import Kind, Tree, join
from carcls.errors import DataError

TRAIN_CSV = "train.csv"
LABELS_CSV = "labels.csv"
TRAIN_FOLDER = "train"
TEST_FOLDERS = ("test_upload", "test")
SAMPLE_CSV = "sample-submission.csv"


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


def find_layout(root: Path, layout: Layout) -> Found:
    """Which layout the folder has. Raises DataError where none fits, or more than one."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected the folder with the photos")
    tree = Tree(root, (TRAIN_FOLDER, *TEST_FOLDERS))
    if layout.labels is not None:
        return Found(LayoutKind.CSV, root, tree, layout.labels, "", layout)
    tables = [name for name in (TRAIN_CSV, LABELS_CSV) if (root / name).is_file()]
    if len(tables) == 2:
        raise DataError(
            f"{root}: holds both {TRAIN_CSV} and {LABELS_CSV}; say by data.labels which has the labels, or remove one"
        )
    if tables:
        kind = LayoutKind.CONTEST if tables == [TRAIN_CSV] else LayoutKind.CSV
        return Found(kind, root, tree, root / tables[0], TRAIN_FOLDER if kind is LayoutKind.CONTEST else "", layout)
    return Found(LayoutKind.FOLDERS, root, tree, None, _class_folders(root, tree, layout), layout)


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
            if join(folder, name) not in not_classes(root, layout) and _holds_photos(tree, join(folder, name))
        ]
        for folder in (TRAIN_FOLDER, "")
    )
    if inside and beside:
        raise DataError(
            f"{root}: photos both in {TRAIN_FOLDER}/{inside[0]} and in {beside[0]}; expected all class folders in"
            f" {TRAIN_FOLDER}, or all beside each other. Move some, or let data.root be {root / TRAIN_FOLDER}"
        )
    if TRAIN_FOLDER in beside:
        raise DataError(
            f"{root}: photos lie in {TRAIN_FOLDER} itself, without a class; expected {TRAIN_FOLDER}/<class>/<photo>, or"
            f" a CSV file with their labels ({TRAIN_CSV}, {LABELS_CSV}, or the file that data.labels names)"
        )
    if not inside and not beside:
        raise DataError(_nothing_fits(root, tree))
    return TRAIN_FOLDER if inside else ""


def _holds_photos(tree: Tree, folder: str) -> bool:
    return any(kind is Kind.FILE and may_be_photo(name) for name, kind in tree.listed(folder).entries.items())


def _nothing_fits(root: Path, tree: Tree) -> str:
    entries = tree.listed("").entries
    tables = [name for name in entries if name.lower().endswith((".csv", ".tsv")) and name != SAMPLE_CSV]
    photos = sum(kind is Kind.FILE and may_be_photo(name) for name, kind in entries.items())
    found = [f"{name or 'a folder'} that {problem}" for name, problem in _closed(tree)]
    found += [f"{photos} photos without a class folder"] if photos else []
    found += [f"{tables[0]} (its labels are read where data.labels names it)"] if tables else []
    found += [] if entries or found else ["nothing"]
    return (
        f"{root}: no labelled photos; looked for {TRAIN_CSV}, {LABELS_CSV}, {TRAIN_FOLDER}/<class>/<photo> and"
        f" <class>/<photo>" + (f"; found {', '.join(found)}" if found else "")
    )


def _closed(tree: Tree) -> list[tuple[str, str]]:
    """The data folder or its folder of classes, where they cannot be looked into."""
    listed = [(name, tree.listed(name).problem) for name in ("", TRAIN_FOLDER)]
    return [(name, problem) for name, problem in listed if problem]
