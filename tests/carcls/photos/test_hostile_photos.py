"""Loads a folder of hostile files. The outcome of each is asserted, printed, and listed in docs/data.md.

`CARSEARCH_REWRITE_DOCS=1 pytest tests/carcls/photos/test_hostile_photos.py` rewrites the tables. The diff of
docs/data.md then shows users what a change of file handling means for them.
"""

import codecs
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from carcls.dataset.layouts import Layout
from carcls.dataset.loading import check_trainable, load_dataset, load_unlabelled
from carcls.dataset.table import Dataset
from carcls.errors import DataError
from carcls.splits.split import make_split
from carcls.splits.split_files import read_split, write_quarantine, write_split
from tests.helpers.photos.hostile import JPEG, PHOTOS, ROWS, Case, nothing, photo

DOCS = Path(__file__).parents[3] / "docs" / "data.md"
UNPRIVILEGED_USER = 65534


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Not pytest's tmp_path, which only its owner can enter: tests of unreadable files switch users."""
    made = Path(tempfile.mkdtemp(prefix="hostile-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root can read everything, so tests of unreadable files switch to an unprivileged user."""
    if os.geteuid() != 0:
        yield
        return
    codecs.lookup("utf-8-sig")  # loaded lazily, maybe from a folder that only root can read
    os.seteuid(UNPRIVILEGED_USER)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(scope="module")
def hostile(folder: Path) -> Path:
    root = folder / "contest"
    (folder / "outside.jpg").write_bytes(JPEG)
    cases = (Case("sound", "train/1/1.jpg", photo("JPEG", quality=50), "1.jpg,1", ""), *PHOTOS, *ROWS)
    for case in cases:
        make(root / case.path, case.make)
    (root / "train" / "4").mkdir()
    rows = [case.row for case in cases if case.row is not None]
    (root / "train.csv").write_text("Id,Category\n" + "\n".join(rows) + "\n", encoding="utf-8")
    for name in ("10.jpg", "9.jpg"):
        make(root / "test_upload" / name, JPEG)
    make(root / "test_upload/broken.jpg", b"")
    make(root / "test_upload/notes.txt", b"not asked for")
    return root


def make(path: Path, how) -> None:
    if how is nothing:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(how, bytes):
        path.write_bytes(how)
    else:
        how(path)


@pytest.fixture(scope="module")
def loaded(hostile: Path) -> Dataset:
    with ordinary_user():
        return load_dataset(hostile, processes=1)


def outcome(dataset: Dataset, path: str) -> str:
    reasons = [entry.reason for entry in dataset.quarantined if entry.path == path]
    assert len(reasons) < 2, f"{path} is named more than once: {reasons}"
    told = [f"left out: {lineless(reason)}" for reason in reasons]
    if path in dataset.train.paths:
        scan = dataset.train_scans[dataset.train.paths.index(path)]
        told = [f"trained, {scan.width} × {scan.height} px", *told]
    return "; the other ".join(told) or "passed over"


def lineless(reason: str) -> str:
    """Replaces line numbers, which change with every added case."""
    return re.sub("line [0-9]+", "line N", re.sub("^train.csv line [0-9]+: ", "", reason))


@pytest.mark.parametrize("case", [*PHOTOS, *ROWS], ids=lambda case: case.what)
def test_each_file_has_its_outcome(loaded: Dataset, case: Case) -> None:
    assert outcome(loaded, case.path) == case.outcome


def test_every_omission_is_named_exactly_once(loaded: Dataset) -> None:
    told = {case.path for case in (*PHOTOS, *ROWS) if case.outcome.startswith("left out")}
    others = [entry for entry in loaded.quarantined if entry.path not in told]
    assert [(entry.id, entry.path, lineless(entry.reason)) for entry in others] == [
        ("twice.jpg", "train/1/twice.jpg", "Id already occurs in line N"),
        (
            "torn.jpg",
            "train/1/torn.jpg",
            "Id also occurs in line N with another label; it is unknown which one is right",
        ),
        ("3", "train/3", "a class without a usable photo; it is left out"),
        ("4", "train/4", "a class without a usable photo; it is left out"),
        ("broken.jpg", "test_upload/broken.jpg", "empty file"),
    ]  # fmt: skip
    assert loaded.class_names == ("0", "1", "2")
    assert loaded.test.ids == ("9.jpg", "10.jpg")
    assert len({entry.path for entry in loaded.quarantined}) == len(loaded.quarantined)
    check_trainable(loaded)


def test_the_split_and_the_quarantine_are_written_and_read(loaded: Dataset, hostile: Path, tmp_path: Path) -> None:
    split = make_split(loaded, fraction=0.3, seed=0)
    write_split(split, tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv", hostile) == split
    write_quarantine(tmp_path / "quarantine.csv", loaded.quarantined)
    assert (tmp_path / "quarantine.csv").read_text(encoding="utf-8").count("Permission denied") == 1


LAYOUTS: tuple[tuple[str, tuple[str, ...], dict[str, str], Layout, str], ...] = (
    ("the contest's", ("train/10/1.jpg", "train/9/2.jpg", "test_upload/1.jpg"),
     {"train.csv": "Id,Category\n1.jpg,10\n2.jpg,9\n"}, Layout(), "classes 9, 10; 2 to train on, 1 to predict"),
    ("`<class>/<photo>`", ("Niva/1.jpg", "Лада Калина/1.jpg", "bmw 10/1.jpg", "bmw 9/1.jpg", "test/a/1.jpg"),
     {}, Layout(), "classes Niva, bmw 9, bmw 10, Лада Калина; 4 to train on, 1 to predict"),
    ("`train/<class>/<photo>` without train.csv", ("train/10/1.jpg", "train/2/1.jpg", "val/2/1.jpg"),
     {}, Layout(), "classes 2, 10; 3 to train on (1 of them to validate on), 0 to predict"),
    ("`old` beside `train`", ("train/10/1.jpg", "train/2/1.jpg", "old/2/1.jpg"),
     {}, Layout(), "classes 2, 10; 2 to train on, 0 to predict; old: a folder beside train; its photos are not used"),
    ("two folders to validate on", ("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"), {}, Layout(),
     "ROOT: holds both val and valid; keep the one to validate on"),
    ("labels.csv", ("p/1.jpg", "p/2.jpg", "p/3.jpg"),
     {"labels.csv": "\ufefffile;class\n./p/1.jpg;Niva\np/2.jpg; Ока \n"}, Layout(),
     "classes Niva, Ока; 2 to train on, 0 to predict; p/3.jpg: in no row of labels.csv"),
    ("any CSV, by its name and columns", ("a/1.jpg", "a/2.jpg", "new/5.jpg"),
     {"meta.tsv": "n\twhere\tmake\n1\ta/1.jpg\tA\n2\ta/2.jpg\tB\n"},
     Layout(Path("meta.tsv"), "where", "make", Path("new")), "classes A, B; 2 to train on, 1 to predict"),
    ("one name, composed and decomposed", ("\u0439/1.jpg", "\u0438\u0306/2.jpg", "k/1.jpg"), {}, Layout(),
     "classes k, \u0439; 3 to train on, 0 to predict; \u0439: has the same name as \u0438\u0306; both are one class"),
    ("a class with photos to predict alone", ("a/1.jpg", "b/1.jpg", "test/a/2.jpg", "test/c/2.jpg"), {}, Layout(),
     "classes a, b; 2 to train on, 2 to predict; test/c: a class without training photos; its photos are predicted as"
     " other classes"),
    ("an empty class folder", ("a/1.jpg", "b/1.jpg", "c/.DS_Store"), {}, Layout(),
     "classes a, b; 2 to train on, 0 to predict; c: a class without a usable photo; it is left out"),
    ("photos beside those that a CSV names",
     ("p/a/1.jpg", "p/a/2.jpg", "p/x.jpg", "p/b/3.jpg", "val/a/4.jpg", "test/5.jpg"),
     {"labels.csv": "path,label\np/a/1.jpg,a\np/a/2.jpg,b\n", "val.csv": "path,label\nval/a/4.jpg,a\n",
      "test.csv": "path,label\n5.jpg,a\n", "dealers.csv": "name,city\na,b\n"}, Layout(),
     "classes a, b; 2 to train on, 1 to predict; p/b: no row of labels.csv names a photo in it; p/x.jpg: in no row of"
     " labels.csv; val: no row of labels.csv names a photo in it; val.csv: not read, since labels.csv"
     " holds the labels; add the rows of its photos there"),
    ("`val` beside the contest's `train`", ("train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg", "old/b/4.jpg"),
     {"train.csv": "Id,Category\n1.jpg,a\n2.jpg,b\n"}, Layout(), "classes a, b; 2 to train on, 0 to predict; old: no"
     " row of train.csv names a photo in it; val: not read, since train.csv names photos in train only; move its photos"
     " there and name their part by data.split_column, or move train.csv away to read class folders"),
    ("train.csv and labels.csv", ("1.jpg",), {"train.csv": "Id,Category\n", "labels.csv": "path,label\n"}, Layout(),
     "ROOT: holds both train.csv and labels.csv; set data.labels to the one with the labels, or remove one"),
    ("class folders in `train` and beside it", ("train/a/1.jpg", "b/1.jpg"), {}, Layout(),
     "ROOT: photos both in train/a and in b; expected all class folders in train, or all in the data folder. Move some,"
     " or set data.root to ROOT/train"),
    ("`train` without classes", ("train/1.jpg", "test/1.jpg"), {}, Layout(),
     "ROOT: photos in train itself, without a class; expected train/<class>/<photo>, or a CSV file with their labels"
     " (train.csv, labels.csv, or the file set by data.labels)"),
    ("two folders to predict", ("a/1.jpg", "b/1.jpg", "test/1.jpg", "test_upload/1.jpg"), {}, Layout(),
     "ROOT: holds both test_upload and test; set data.test to the one to predict"),
    ("photos without classes", ("1.jpg", "2.jpg"), {"info.csv": "a,b\n"}, Layout(),
     "ROOT: no labelled photos; looked for train.csv, labels.csv, train/<class>/<photo> and <class>/<photo>; found 2"
     " photos without a class folder, info.csv (set data.labels to read labels from it)"),
    ("a CSV with two columns of paths", ("1.jpg",), {"labels.csv": "path,file,label\n"}, Layout(),
     "ROOT/labels.csv: which column holds the paths? more than one may (path, file); set data.path_column."
     " Columns: path,file,label"),
    ("a train.csv with other columns: ids without ending or folder", ("train/1.jpg", "train/2.png", "test/1.jpg"),
     {"train.csv": "image_id,Model\n1,a\n2,b\n"}, Layout(), "classes a, b; 2 to train on, 1 to predict"),
    ("an id that fits two photos", ("p/1.jpg", "p/1.png", "p/2.jpg", "p/3.jpg"),
     {"labels.csv": "id,label\n1,a\n2,a\n3,b\n"}, Layout(), "classes a, b; 2 to train on, 0 to predict; 1: labels.csv"
     " line 2: matches more than one photo (p/1.jpg, p/1.png); write its path, or set"
     " data.extension; p/1.jpg: in no row of labels.csv; p/1.png: in no row of labels.csv"),
    ("the same with its ending named", ("p/1.jpg", "p/1.png", "p/2.jpg", "p/3.jpg"),
     {"labels.csv": "id,label\n1,a\n2,a\n3,b\n"}, Layout(extension=".jpg"),
     "classes a, b; 3 to train on, 0 to predict; p/1.png: in no row of labels.csv"),
    ("two rows that name one photo", ("1.jpg", "2.jpg", "3.jpg"),
     {"labels.csv": "id,label\n1,a\n1.jpg,b\n2,a\n2.jpg,a\n3,b\n"}, Layout(),
     "classes a, b; 2 to train on, 0 to predict; 1.jpg: labels.csv line 2: its photo also occurs in line 3 with"
     " another label; it is unknown which one is right; 1.jpg: labels.csv line 3: its photo also occurs in line 2 with"
     " another label; it is unknown which one is right; 2.jpg: labels.csv line 5: its photo already occurs in line 4"),
    ("a CSV that no setting names beside class folders", ("a/1.jpg", "b/1.jpg"),
     {"meta.csv": "file,label\na/1.jpg,7\nb/1.jpg,8\n"}, Layout(), "classes a, b; 2 to train on, 0 to predict;"
     " meta.csv: not read, since the photos are in class folders; set data.labels to read labels from it"),
    ("one that contradicts the class folders", ("img/1.jpg", "img/2.jpg", "more/3.jpg"),
     {"meta.csv": "image,breed\n1.jpg,x\n2.jpg,y\n3.jpg,y\n"}, Layout(),
     "ROOT/meta.csv: contradicts the class folders ('x' and 'y' are one class in one of them and two in the other); set"
     " data.labels to use the file's labels, or move it away"),
    ("one whose columns are unknown, beside one folder", ("img/1.jpg", "img/2.jpg"),
     {"meta.csv": "a,b\n1.jpg,x\n2.jpg,y\n"}, Layout(),
     "ROOT: every usable photo is of the class 'img'; 1 photos, rows or classes cannot be used; expected photos of at"
     " least two classes. meta.csv was not read, since the photos are in class folders; set data.labels to read labels"
     " from it"),
    ("folders inside folders", ("Audi/A4/1.jpg", "Audi/A6/1.jpg", "VW/Passat/1.jpg", "test/1.jpg"), {}, Layout(),
     "ROOT: no labelled photos; looked for train.csv, labels.csv, train/<class>/<photo> and <class>/<photo>; found"
     " folders inside folders, such as Audi/A4 (data.nested: true makes each of them a class, 'Audi/A4')"),
    ("the same with `data.nested: true`",
     ("Audi/A4/1.jpg", "Audi/A6/1.jpg", "VW/Passat/1.jpg", "VW/2.jpg", "test/1.jpg"), {}, Layout(nested=True),
     "classes Audi/A4, Audi/A6, VW, VW/Passat; 4 to train on, 1 to predict"),
    ("`train` and `test` inside another folder", ("cars/train/a/1.jpg", "cars/train/b/1.jpg", "cars/test/1.jpg"), {},
     Layout(), "ROOT: no labelled photos; looked for train.csv, labels.csv, train/<class>/<photo> and <class>/<photo>;"
     " found cars/train (part of a split, not a class: set data.root to ROOT/cars; if these are classes, data.nested:"
     " true makes each folder of photos a class)"),
    ("`Training` and `test` with class folders", ("Training/a/1.jpg", "Training/b/1.jpg", "test/a/1.jpg"), {}, Layout(),
     "ROOT: no labelled photos; looked for train.csv, labels.csv, train/<class>/<photo> and <class>/<photo>; found"
     " Training (part of a split, not a class: rename ROOT/Training to train; if these are classes, data.nested: true"
     " makes each folder of photos a class)"),
    ("one class alone", ("a/1.jpg", "b/x.txt:"), {}, Layout(),
     "ROOT: every usable photo is of the class 'a'; 2 photos, rows or classes cannot be used; expected photos of at"
     " least two classes"),
    ("no readable photo", ("a/1.jpg:", "b/1.jpg:"), {}, Layout(),
     "ROOT: none of its 2 photos can be used; expected ROOT/<class>/<photo>. 2 × empty file (a/1.jpg)"),
)  # fmt: skip
"""(description, files of the folder, texts, layout, expected outcome); a name that ends with `:` is an empty file."""


def layout_outcome(root: Path, files: tuple[str, ...], texts: dict[str, str], layout: Layout) -> str:
    for number, name in enumerate(files):
        make(root / name.rstrip(":"), b"" if name.endswith(":") else photo("JPEG", quality=30 + number))
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    placed = replace(layout, labels=layout.labels and root / layout.labels, test=layout.test and root / layout.test)
    try:
        found = load_dataset(root, processes=1, layout=placed)
        check_trainable(found)
    except DataError as error:
        return str(error).replace(str(root), "ROOT")
    assert load_unlabelled(root, processes=1, layout=placed).photos == found.test
    told = "".join(f"; {entry.path}: {entry.reason}" for entry in found.quarantined)
    held = f" ({len(found.validation)} of them to validate on)" if found.validation else ""
    counts = f"{len(found.train)} to train on{held}, {len(found.test)} to predict"
    return f"classes {', '.join(found.class_names)}; {counts}{told}"


@pytest.mark.parametrize("case", LAYOUTS, ids=[case[0] for case in LAYOUTS])
def test_each_layout_has_its_outcome(tmp_path, case) -> None:
    _, files, texts, layout, expected = case
    assert layout_outcome(tmp_path, files, texts, layout) == expected


def test_the_docs_list_the_outcomes(loaded: Dataset, tmp_path: Path) -> None:
    files = [(case.what, shown(outcome(loaded, case.path))) for case in (*PHOTOS, *ROWS)]
    layouts = [
        (what, shown(layout_outcome(tmp_path / str(number), names, texts, layout)))
        for number, (what, names, texts, layout, _) in enumerate(LAYOUTS)
    ]
    assert len(files) + len(layouts) >= 40
    text = DOCS.read_text(encoding="utf-8")
    wanted = with_table(with_table(text, "files", files), "layouts", layouts)
    if os.environ.get("CARSEARCH_REWRITE_DOCS"):
        DOCS.write_text(wanted, encoding="utf-8")
    for what, happened in (*files, *layouts):
        print(f"{what:<45} {happened}")  # noqa: T201 - the table that a reader of the test's output looks for
    assert text == wanted, "docs/data.md tells something else; see the head of this file"


def with_table(text: str, name: str, rows: list[tuple[str, str]]) -> str:
    """The text with the table between its two marks replaced."""
    table = "\n".join(
        ("| what | what happens |", "|---|---|", *(f"| {what} | {happens} |" for what, happens in rows), "")
    )
    before, mark, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    assert mark, f"docs/data.md has no place for the table of {name}"
    assert end, f"docs/data.md has no end of the table of {name}"
    return before + mark + table + end + after


def shown(text: str) -> str:
    """Escapes Markdown: `<class>` is not a tag, and a bar does not end a cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def test_closed_folders_are_named_once_and_the_rest_is_used(folder: Path) -> None:
    root = folder / "closed"
    for number, name in enumerate(("train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "test/1.jpg", "test/d/2.jpg")):
        make(root / name, photo("JPEG", quality=40 + number))
    for name in ("train/c", "test/d"):
        (root / name).chmod(0)
    try:
        with ordinary_user():
            dataset = load_dataset(root, processes=1)
        (root / "train").chmod(0)
        with ordinary_user(), pytest.raises(DataError, match="found train that cannot be listed: Permission denied"):
            load_dataset(root, processes=1)
    finally:
        for name in ("train", "train/c", "test/d"):
            (root / name).chmod(0o755)
    assert (dataset.class_names, dataset.test.ids) == (("a", "b"), ("1.jpg",))
    assert [(entry.path, entry.reason) for entry in dataset.quarantined] == [
        ("train/c", "cannot be listed: Permission denied"),
        ("test/d", "cannot be listed: Permission denied"),
    ]
