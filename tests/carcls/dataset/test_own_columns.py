import pytest

from carcls.dataset.layouts import Layout
from carcls.dataset.loading import load_dataset
from carcls.errors import DataError
from carcls.inspection.folder_check import examine
from carcls.splits.k_folds import make_folds
from carcls.splits.split import in_no_part, make_split
from search.cli.commands.data_findings import report_lines


@pytest.fixture
def root(tmp_path, write_photo):
    for number in range(8):
        write_photo(tmp_path / "img" / f"{number}.jpg", number)
    return tmp_path


def write(root, rows, header="path,label,seller,part"):
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n")


def load(root, **keys):
    return load_dataset(root, processes=1, layout=Layout(**keys))


def ids(dataset, rows):
    return [dataset.train.ids[row] for row in rows]


def test_groups_and_parts_are_read_from_their_columns(root):
    parts = ["train", "Train", "VAL", "valid", "test", "holdout", "training", "validation"]
    write(root, [f"img/{n}.jpg,{'ab'[n % 2]},s{n // 4},{part}" for n, part in enumerate(parts)])
    found = load(root, split_column="part")
    assert ids(found, found.validation) == ["img/2.jpg", "img/3.jpg", "img/7.jpg"]
    assert ids(found, found.holdout) == ["img/4.jpg", "img/5.jpg"]
    assert found.own_groups == ()
    split = make_split(found, fraction=0.9, seed=0)
    assert split.train.ids == ("img/0.jpg", "img/1.jpg", "img/6.jpg")
    assert load(root, group_column="seller").own_groups == ("s0",) * 4 + ("s1",) * 4


def test_the_contests_table_may_have_them_too(tmp_path, write_photo):
    for label in "01":
        for number in range(3):
            write_photo(tmp_path / "train" / label / f"{label}{number}.jpg", int(label) * 3 + number)
    rows = [f"{label}{n}.jpg,{label},car{n}" for label in "01" for n in range(3)]
    (tmp_path / "train.csv").write_text("\n".join(["Id,Category,car", *rows]) + "\n")
    assert load(tmp_path, group_column="car").own_groups == ("car0", "car1", "car2") * 2


def test_the_column_decides_over_a_validation_folder(root, write_photo):
    for number, folder in enumerate(["train"] * 3 + ["val"] * 3):
        write_photo(root / folder / f"{number}.jpg", 20 + number)
    parts = ["val", "train", "train", "train", "train", "val"]
    rows = [f"{'train' if n < 3 else 'val'}/{n}.jpg,{'ab'[n % 2]},,{part}" for n, part in enumerate(parts)]
    write(root, rows)
    found = load(root, split_column="part")
    assert ids(found, found.validation) == ["train/0.jpg", "val/5.jpg"]
    by_folder = load(root)
    assert ids(by_folder, by_folder.validation) == ["val/3.jpg", "val/4.jpg", "val/5.jpg"]


def test_an_unknown_part_is_left_out_with_its_line(root):
    parts = ["train", "fold 3", "", "val", "train", "train", "val", "train"]
    write(root, [f"img/{n}.jpg,{'ab'[n % 2]},,{part}" for n, part in enumerate(parts)])
    found = load(root, split_column="part")
    assert [entry.reason for entry in found.quarantined] == [
        "labels.csv line 3: part is 'fold 3'; expected train, val (or validation) or holdout (or test)",
        "labels.csv line 4: part is ''; expected train, val (or validation) or holdout (or test)",
    ]
    assert len(found.train) == 6


def test_the_own_holdout_and_its_copies_in_other_parts_are_never_trained_on_or_validated(root, write_photo):
    write_photo(root / "img" / "8.jpg", 0)  # a copy of 0.jpg, which trains
    write_photo(root / "img" / "9.jpg", 4)  # a copy of 4.jpg, held out too
    parts = ["train", "train", "val", "val", "test", "test", "train", "train", "test", "test"]
    write(root, [f"img/{n}.jpg,{'ab'[n % 2] if n < 8 else 'a'},,{part}" for n, part in enumerate(parts)])
    found = load(root, split_column="part")
    split = make_split(found, fraction=0.3, seed=0)
    assert split.holdout.ids == ("img/4.jpg", "img/5.jpg", "img/9.jpg")
    assert split.validation.ids == ("img/2.jpg", "img/3.jpg")
    assert split.train.ids == ("img/0.jpg", "img/1.jpg", "img/6.jpg", "img/7.jpg")
    assert split.groups == (("img/4.jpg", "img/9.jpg"),)
    assert [(entry.path, entry.reason) for entry in in_no_part(found, split)] == [
        (
            "img/8.jpg",
            "in the holdout by data.split_column, but img/0.jpg is not, a copy, a look-alike or of its group; it is in"
            " no part of the split",
        )
    ]
    photos = make_folds(split, count=2, seed=0).photos
    assert not {*photos.ids} & {"img/4.jpg", "img/5.jpg", "img/8.jpg", "img/9.jpg"}
    told = examine(found, seed=0)
    assert (told.held_out, told.in_no_part, [entry.path for entry in told.quarantined]) == (3, 1, ["img/8.jpg"])
    assert "1 of 4 photos in your holdout have copies" in "; ".join(told.warnings)
    assert any(line.startswith("split: 4 to train, 2 to validate") for line in report_lines(told, sizes_px=[32]))


def test_copies_with_two_labels_in_the_own_holdout_do_not_train(root, write_photo):
    write_photo(root / "img" / "8.jpg", 7)  # a copy of 7.jpg, with another label
    parts = ["train"] * 5 + ["test"] * 4
    write(root, [f"img/{n}.jpg,{'ab'[n % 2]},,{part}" for n, part in enumerate(parts)])
    found = load(root, split_column="part")
    split = make_split(found, fraction=0.3, seed=0)
    assert split.holdout.ids == ("img/5.jpg", "img/6.jpg")
    assert not {*split.train.ids, *split.validation.ids} & {"img/7.jpg", "img/8.jpg"}
    assert ["has another label" in entry.reason for entry in in_no_part(found, split)] == [True, True]


def test_a_class_that_the_own_holdout_alone_has_is_left_out(root):
    parts = ["train"] * 6 + ["test"] * 2
    write(root, [f"img/{n}.jpg,{'ab'[n % 2] if n < 7 else 'c'},,{part}" for n, part in enumerate(parts)])
    found = load(root, split_column="part")
    assert (found.class_names, ids(found, found.holdout)) == (("a", "b"), ["img/6.jpg"])
    assert found.quarantined[0].reason.endswith("as is every usable photo of its class, which cannot be trained")
    write(root, [f"img/{n}.jpg,{'ab'[n % 2]},,test" for n in range(8)])
    with pytest.raises(DataError, match="none of its 8 photos can be used"):
        load(root, split_column="part")


@pytest.mark.parametrize("other", ["img/0.jpg", "0"])
def test_a_photo_that_two_rows_put_into_two_parts_is_left_out(root, other):
    rows = [f"img/{n}.jpg,{'ab'[n % 2]},,train" for n in range(8)]
    write(root, [*rows, f"{other},a,,test"])
    found = load(root, split_column="part")
    assert "img/0.jpg" not in found.train.paths
    assert found.holdout == ()
    reasons = [entry.reason for entry in found.quarantined]
    assert "its photo also occurs in line 10 in another part; it is unknown which one is right" in reasons[0]
    assert reasons[1].startswith("labels.csv line 10: ")


@pytest.mark.parametrize("other", ["img/0.jpg", "0"])
@pytest.mark.parametrize("group", ["s1", ""])
def test_a_photo_that_two_rows_put_into_two_groups_is_left_out(root, other, group):
    rows = [f"img/{n}.jpg,{'ab'[n % 2]},s{n % 2}," for n in range(8)]
    write(root, [*rows, f"{other},a,{group},"])
    found = load(root, group_column="seller")
    assert found.train.paths == tuple(f"img/{n}.jpg" for n in range(1, 8))
    reasons = [entry.reason for entry in found.quarantined]
    assert "its photo also occurs in line 10 in another group; it is unknown which one is right" in reasons[0]
    write(root, [*rows, f"{other},a,s0,"])
    assert len(load(root, group_column="seller").train) == 8, "the same row twice"


def test_a_group_in_two_parts_of_the_own_split_is_an_error_with_both_lines(root):
    write(root, [f"img/{n}.jpg,{'ab'[n % 2]},s{n % 3},{'val' if n > 5 else 'train'}" for n in range(8)])
    with pytest.raises(DataError) as error:
        load(root, split_column="part", group_column="seller")
    assert str(error.value) == (
        "labels.csv line 8: img/6.jpg is in validation by data.split_column (part), but line 2, of the same group 's0'"
        " by data.group_column (seller), is in train: put the whole group into one part, or leave out one of the two"
        " keys"
    )


@pytest.mark.parametrize("key", ["group_column", "split_column"])
def test_a_missing_column_names_file_key_and_columns(root, key):
    write(root, ["img/0.jpg,a,,train"])
    with pytest.raises(DataError, match=rf"labels\.csv: no column 'car', which data\.{key} names; expected"):
        load(root, **{key: "car"})


def test_columns_without_a_table_are_refused(tmp_path, write_photo):
    for label in "ab":
        write_photo(tmp_path / label / "1.jpg", ord(label))
    with pytest.raises(DataError, match=r"data\.group_column is a column of a CSV file, but there is no train\.csv"):
        load(tmp_path, group_column="seller")
