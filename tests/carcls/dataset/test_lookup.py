"""Photos are found by the names in a CSV file, with or without suffix or folder, but never if ambiguous."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.dataset.columns import path_and_label_columns
from carcls.dataset.csv_rows import CsvFile
from carcls.dataset.layouts import Layout
from carcls.dataset.lookup import PhotoLookup
from carcls.dataset.tree import Tree
from carcls.errors import DataError

paths = st.sampled_from(
    [f"{folder}{stem}{end}" for folder in ("", "p/", "q/r/") for stem in "ab" for end in (".jpg", ".png", "")]
)


@settings(max_examples=80, deadline=None)
@given(st.sets(paths, min_size=1, max_size=6), st.sampled_from("ab"))
def test_a_name_finds_its_one_photo_or_none(tmp_path_factory, files, name):
    root = tmp_path_factory.mktemp("root")
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    found, reason = PhotoLookup(Tree(root), below="").locate(name, name)
    called_so = {file for file in files if name in (PurePosixPath(file).name, PurePosixPath(file).stem)}
    beside = {file for file in called_so if "/" not in file}
    meant = {name} if name in files else beside or called_so
    if len(meant) == 1:
        assert (found, reason) == (meant.pop(), "")
    else:
        assert reason.startswith("matches more than one photo" if meant else "no such file")
    assert PhotoLookup(Tree(root), extension=".jpg").locate(name) == (
        (name, "") if name in files else (f"{name}.jpg", "") if f"{name}.jpg" in files else (name, "no such file")
    )


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("image_id,model", ("image_id", "model")),
        ("filename,Label", ("filename", "Label")),
        ("ID,img_path,Class Name,class_id", ("img_path", "Class Name")),
        ("make,model,image,year", ("image", "model")),
        ("img,breed", ("img", "breed")),
    ],
)
def test_usual_names_of_columns_are_known(tmp_path, header, expected):
    table = CsvFile(tmp_path / "t.csv", tuple(header.split(",")), ())
    assert path_and_label_columns(table, Layout()) == expected
    assert path_and_label_columns(table, Layout(path_column="x", label_column="y")) == ("x", "y")


@pytest.mark.parametrize(("header", "key"), [("a,label", "path_column"), ("file,label,class", "label_column")])
def test_ambiguous_columns_name_their_setting(tmp_path, header, key):
    with pytest.raises(DataError, match=f"set data.{key}. Columns: {header}"):
        path_and_label_columns(CsvFile(tmp_path / "t.csv", tuple(header.split(",")), ()), Layout())
