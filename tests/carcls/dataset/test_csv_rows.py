import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.dataset.csv_rows import contest_rows, is_plain_name, path_rows, read_csv
from carcls.errors import DataError


def read(tmp_path, text: str | bytes, columns=("Id", "Category")):
    path = tmp_path / "train.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return contest_rows(read_csv(path), columns, "train")


def read_paths(tmp_path, text: str, columns=("path", "label"), folder=""):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path_rows(read_csv(path), columns, folder)


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
        ("good.jpg,0", "Id already occurs in line 2"),
        ("b.jpg,0,spare", "more fields than the first line has names"),
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
        ('Id,Category\n"1.jpg,0\n2.jpg,0\n', "cannot be read as CSV in UTF-8: unexpected end of data"),
        ("Id,Category\n" + "x" * 200_000 + ",0\n", "cannot be read as CSV in UTF-8"),
    ],
)
def test_files_that_are_no_table_raise(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"train.csv: no such file; expected a CSV file.*unpack"):
        read_csv(tmp_path / "train.csv")


def test_an_id_with_two_labels_is_used_with_neither(tmp_path):
    good, bad = read(tmp_path, "Id,Category\na.jpg,0\nb.jpg,0\na.jpg,1\na.jpg,0\nb.jpg,0\n")
    assert [(row.id, row.line) for row in good] == [("b.jpg", 3)]
    assert [(row.line, reason.partition(";")[0]) for row, reason in bad] == [
        (2, "Id also occurs in line 4 with another label"),
        (4, "Id also occurs in lines 2 to 5 with another label"),
        (5, "Id also occurs in line 4 with another label"),
        (6, "Id already occurs in line 3"),
    ]


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_the_delimiter_is_found_and_empty_lines_do_not_count(tmp_path, sign):
    text = "\ufeffpath,label\r\n\r\na/1.jpg,Лада Калина\r\n,\r\nb.jpg,2\r\n".replace(",", sign)
    good, bad = read_paths(tmp_path, text)
    assert [(row.line, row.id, row.category, row.path) for row in good] == [
        (3, "a/1.jpg", "Лада Калина", "a/1.jpg"),
        (5, "b.jpg", "2", "b.jpg"),
    ]
    assert bad == []


def test_one_spelling_of_a_path_and_of_a_label(tmp_path):
    decomposed, composed = "и\u0306", "й"
    good, bad = read_paths(tmp_path, f"path,label\n./a//1.jpg,{decomposed}\na/2.jpg, {composed} \na/1.jpg,{composed}\n")
    assert [(row.id, row.category) for row in good] == [("a/1.jpg", composed), ("a/2.jpg", composed)]
    assert [reason for _, reason in bad] == ["path already occurs in line 2"]


@pytest.mark.parametrize("path", ["../1.jpg", "a/../../1.jpg", "/1.jpg", "a\\1.jpg", "a\0b.jpg", ".", "/"])
def test_paths_stay_inside_the_data_folder(tmp_path, path):
    good, bad = read_paths(tmp_path, f"path,label\n{path},0\n")
    assert good == []
    assert len(bad) == 1


def test_without_labels_the_id_stays_as_written(tmp_path):
    good, bad = read_paths(tmp_path, "Id,Category\n./b//1.jpg,0\n2.jpg,0\n2.jpg,1\n", ("Id",), "test")
    assert [(row.id, row.category, row.path) for row in good] == [
        ("./b//1.jpg", "", "test/b/1.jpg"),
        ("2.jpg", "", "test/2.jpg"),
    ]
    assert [reason for _, reason in bad] == ["Id already occurs in line 3"]


@given(st.text(max_size=8))
def test_a_plain_name_never_leaves_its_folder(name):
    from pathlib import PurePosixPath, PureWindowsPath

    if is_plain_name(name):
        assert PurePosixPath("train", name).parent == PurePosixPath("train")
        assert len(PureWindowsPath("train", name).parts) <= 2
        assert ".." not in PurePosixPath("train", name).parts
