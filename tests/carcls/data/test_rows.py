import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.data.rows import is_plain_name, read_rows
from carcls.errors import DataError


def read(tmp_path, text: str | bytes, columns=("Id", "Category")):
    path = tmp_path / "train.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_rows(path, columns, "train")


def test_rows_name_photos_below_their_category(tmp_path):
    good, bad = read(tmp_path, "\ufeffCategory,extra,Id\r\n0,x,7.jpg\r\nNiva,y,8.jpg\r\n")
    assert [(row.line, row.id, row.category, row.path) for row in good] == [
        (2, "7.jpg", "0", "train/0/7.jpg"),
        (3, "8.jpg", "Niva", "train/Niva/8.jpg"),
    ]
    assert bad == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("../../etc/passwd,0", "not a plain file name"),
        ("/etc/passwd,0", "not a plain file name"),
        ("a\\b.jpg,0", "not a plain file name"),
        ("..,0", "not a plain file name"),
        ("a\0.jpg,0", "not a plain file name"),
        ("b.jpg,../test_upload", "not a plain folder name"),
        ("b.jpg,.", "not a plain folder name"),
        ("b.jpg,", "row without Category"),
        ("b.jpg", "row without Category"),
        (",3", "row without Id"),
        ("good.jpg,1", "Id stands in line 2 already"),
    ],
)
def test_rows_that_name_no_photo_keep_line_and_reason(tmp_path, row, reason):
    good, bad = read(tmp_path, f"Id,Category\ngood.jpg,0\n{row}\nlast.jpg,0\n")
    assert [entry.id for entry in good] == ["good.jpg", "last.jpg"]
    [(entry, why)] = bad
    assert entry.where == "train.csv line 3: "
    assert reason in why


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Id,Label\n1.jpg,0\n", "no column Category; expected a first line `Id,Category`, found `Id,Label`"),
        ("", "no column Id and no column Category"),
        (b"Id,Category\n\xff\xfe,0\n", "cannot be read as CSV in UTF-8"),
        ("Id,Category\n" + "x" * 200_000 + ",0\n", "cannot be read as CSV in UTF-8"),
    ],
)
def test_files_that_are_no_table_raise(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"train.csv: no such file; expected .* columns Id,Category.*unpack"):
        read_rows(tmp_path / "train.csv", ("Id", "Category"), "train")


@given(st.text(max_size=8))
def test_a_plain_name_never_leaves_its_folder(name):
    from pathlib import PurePosixPath, PureWindowsPath

    if is_plain_name(name):
        assert PurePosixPath("train", name).parent == PurePosixPath("train")
        assert len(PureWindowsPath("train", name).parts) <= 2
        assert ".." not in PurePosixPath("train", name).parts
