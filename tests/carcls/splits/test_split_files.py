"""split.csv and quarantine.csv as written and read."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.dataset.loading import sort_class_names
from carcls.dataset.table import ImageTable, Quarantined
from carcls.errors import DataError
from carcls.splits.split import Split, make_split
from carcls.splits.split_files import read_split, write_quarantine, write_split
from tests.helpers.photos.datasets import dataset

NAMES = st.text(st.characters(exclude_characters="/\\\0\r\n", exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=2, max_size=12, unique=True), st.data())
@settings(max_examples=60, deadline=None)
def test_a_split_reads_back_bit_equal(tmp_path_factory, ids, data):
    categories = [data.draw(st.sampled_from(["0", "9", "10", "Niva, 1.7", 'a"b'])) for _ in ids]
    names = sort_class_names(set(categories))
    paths = tuple(f"train/{category}/{id_}" for category, id_ in zip(categories, ids, strict=True))
    labels = np.array([names.index(category) for category in categories])
    table = ImageTable(Path("r"), tuple(ids), paths, labels, tuple(f"{number:032x}" for number in range(len(ids))))
    cut = data.draw(st.integers(1, len(ids) - 1))
    end = data.draw(st.integers(cut, len(ids)))
    holdout = table.select(range(end, len(ids))) if end < len(ids) else None
    split = Split(names, table.select(range(cut)), table.select(range(cut, end)), holdout)
    path = tmp_path_factory.mktemp("split") / "split.csv"
    write_split(split, path)
    assert read_split(path, Path("r")) == split
    assert [entry.name for entry in path.parent.iterdir()] == ["split.csv"]  # no temporary file stays


def test_split_csv_is_plain(tmp_path):
    split = make_split(dataset([0, 0, 1, 1]), fraction=0.5, seed=0)
    write_split(split, tmp_path / "split.csv")
    lines = (tmp_path / "split.csv").read_text().splitlines()
    assert lines[0] == "Id,path,Category,digest,fold,group"
    assert lines[1].endswith(",train,")
    assert lines[-1].endswith(",validation,")
    assert len(lines) == 5


def test_a_split_file_that_says_judge_is_read(tmp_path):
    split = make_split(dataset([0, 0, 0, 1, 1, 1]), fraction=0.34, holdout_fraction=0.34, seed=0)
    write_split(split, tmp_path / "split.csv")
    text = (tmp_path / "split.csv").read_text()
    assert text.count(",holdout,\n") == 2
    (tmp_path / "split.csv").write_text(text.replace(",holdout,\n", ",judge,\n"))
    assert read_split(tmp_path / "split.csv", Path("r")) == split


def test_a_split_without_holdout_keeps_its_format_and_round_trips(tmp_path):
    split = make_split(dataset([0, 0, 1, 1]), fraction=0.5, holdout_fraction=0.0, seed=0)
    write_split(split, tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_bytes() == (
        b"Id,path,Category,digest,fold,group\n"
        b"1.jpg,train/0/1.jpg,0,1.jpg,train,\n3.jpg,train/1/3.jpg,1,3.jpg,train,\n"
        b"0.jpg,train/0/0.jpg,0,0.jpg,validation,\n2.jpg,train/1/2.jpg,1,2.jpg,validation,\n"
    )
    assert read_split(tmp_path / "split.csv", Path("r")) == split


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a split"),
        ("Id,path\n", "expected the columns Id,path,Category,digest,fold"),
        ("Id,path,Category,digest,fold\na,train/0/a,0,ff,test\n", "split.csv:2: expected 6 fields"),
        ("Id,path,Category,digest,fold\na,train/0/a,0\n", "split.csv:2: expected 6 fields"),
        ("Id,path,Category,digest,fold\na,../a,0,ff,train\n", "split.csv:2: the path '../a' leaves"),
        ("Id,path,Category,digest,fold\na,/etc/a,0,ff,train\n", "split.csv:2: the path '/etc/a' leaves"),
    ],
)
def test_an_altered_split_is_refused(tmp_path, text, message):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_split(tmp_path / "split.csv", tmp_path)


def test_a_missing_split_is_named(tmp_path):
    with pytest.raises(DataError, match=r"split\.csv: cannot be read as a split"):
        read_split(tmp_path / "split.csv", tmp_path)


def test_class_names_that_rows_cannot_reproduce_are_refused(tmp_path):
    table = ImageTable(Path("r"), ("a",), ("train/1/a",), np.array([0]), ("x",))
    with pytest.raises(DataError, match="every class of a split needs a photo"):
        write_split(Split(("1", "0"), table, table), tmp_path / "split.csv")


def test_quarantine_is_written_with_reasons(tmp_path):
    write_quarantine(tmp_path / "q.csv", [Quarantined("a,b.jpg", "train/0/a,b.jpg", "train.csv line 2: no such file")])
    assert (tmp_path / "q.csv").read_text() == (
        'Id,path,reason\n"a,b.jpg","train/0/a,b.jpg",train.csv line 2: no such file\n'
    )
    write_quarantine(tmp_path / "q.csv", [])
    assert (tmp_path / "q.csv").read_text() == "Id,path,reason\n"
