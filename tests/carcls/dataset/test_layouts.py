import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.dataset.labelled import labelled_candidates
from carcls.dataset.layouts import Layout, LayoutKind, find_layout
from carcls.dataset.loading import load_dataset, load_unlabelled, sort_class_names
from carcls.dataset.names import (
    class_order,
    confusable_key,
    is_junk,
    may_be_photo,
    natural_key,
    normalized_name,
    path_key,
)
from carcls.dataset.sample_submission import read_sample
from carcls.dataset.tree import Kind, Tree
from carcls.dataset.unlabelled import asks_for_submission, photos_below, unlabelled_candidates, unusable_below
from carcls.errors import DataError
from carcls.splits.split import make_split
from carcls.splits.split_files import read_split, write_split

NAMES = ["Лада Калина", "bmw 10", "bmw 9", "10", "9", "\u0439", "VW, Passat"]


@pytest.fixture
def class_folders(tmp_path: Path, write_photo) -> Path:
    for number, name in enumerate(NAMES):
        for photo in range(3):
            write_photo(tmp_path / "photos" / name / f"{photo}.jpg", 10 * number + photo)
    return tmp_path / "photos"


def test_class_folders_give_classes_in_natural_order_and_paths_as_ids(class_folders):
    dataset = load_dataset(class_folders, processes=1)
    assert dataset.class_names == ("9", "10", "VW, Passat", "bmw 9", "bmw 10", "Лада Калина", "\u0439")
    assert dataset.train.ids[:4] == ("9/0.jpg", "9/1.jpg", "9/2.jpg", "10/0.jpg")
    assert dataset.train.ids == dataset.train.paths
    assert dataset.train.labels.tolist() == np.repeat(range(7), 3).tolist()
    assert dataset.quarantined == ()


def test_a_csv_of_the_same_photos_gives_the_same_split(class_folders, tmp_path):
    by_folder = load_dataset(class_folders, processes=1)
    labels = [by_folder.class_names[label] for label in by_folder.train.labels]
    rows = "".join(f'"{path}";"{label}"\n' for path, label in zip(by_folder.train.paths, labels, strict=True))
    (tmp_path / "any.csv").write_text(f"photo;target\n{rows}", encoding="utf-8")
    by_csv = load_dataset(class_folders, processes=1, layout=Layout(labels=tmp_path / "any.csv"))
    assert by_csv == by_folder
    split = make_split(by_csv, fraction=0.3, seed=0)
    write_split(split, tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv", class_folders) == split


def test_a_path_is_found_in_either_unicode_form(tmp_path, write_photo):
    write_photo(tmp_path / "\u0438\u0306" / "\u0435\u0308.jpg", 0)
    write_photo(tmp_path / "b" / "1.jpg", 1)
    (tmp_path / "labels.csv").write_text("path,label\n\u0439/\u0451.jpg,a\nb/1.jpg,b\n", encoding="utf-8")
    dataset = load_dataset(tmp_path, processes=1)
    assert dataset.train.ids == ("\u0439/\u0451.jpg", "b/1.jpg")
    assert dataset.train.paths[0] == "\u0438\u0306/\u0435\u0308.jpg"
    assert dataset.quarantined == ()


@pytest.mark.parametrize(("folder", "category"), [("BMW ", "BMW "), (" BMW", "BMW"), ("\u0438\u0306 ", "\u0439")])
def test_a_class_of_the_contest_is_found_without_the_spaces_around_its_name(folder, category, tmp_path, write_photo):
    write_photo(tmp_path / "train" / folder / "1.jpg", 0)
    write_photo(tmp_path / "train" / "Audi" / "2.jpg", 1)
    (tmp_path / "train.csv").write_text(f"Id,Category\n1.jpg,{category}\n2.jpg,Audi\n", encoding="utf-8")
    dataset = load_dataset(tmp_path, processes=1)
    assert set(dataset.class_names) == {"Audi", category.strip()}
    assert dataset.train.paths == (f"train/{folder}/1.jpg", "train/Audi/2.jpg")
    assert dataset.quarantined == ()


def test_a_name_as_on_disk_goes_before_one_with_other_spaces(tmp_path):
    for name in ("a.jpg", "a.jpg ", " b.jpg"):
        (tmp_path / name).touch()
    tree = Tree(tmp_path)
    assert [tree.locate(name)[0] for name in ("a.jpg", "a.jpg ", "b.jpg")] == ["a.jpg", "a.jpg ", " b.jpg"]
    assert tree.locate("c.jpg") == ("c.jpg", "no such file")


def test_photos_to_predict_may_be_anywhere_and_in_folders(class_folders, tmp_path, write_photo):
    for name in ("b/10.jpg", "b/9.jpg", "a.jpg"):
        write_photo(tmp_path / "new" / name, 7)
    (tmp_path / "new" / "b" / "8.jpg").write_bytes(b"")
    (tmp_path / "new" / "readme.txt").write_text("no photo")
    (tmp_path / "new" / "loop").symlink_to(tmp_path / "new")
    found = load_unlabelled(class_folders, processes=1, layout=Layout(test=tmp_path / "new"))
    assert found.ids == ("a.jpg", "b/8.jpg", "b/9.jpg", "b/10.jpg")
    assert found.photos.ids == ("a.jpg", "b/9.jpg", "b/10.jpg")
    assert found.photos.root == tmp_path / "new"
    assert found.photos.labels.tolist() == [-1, -1, -1]
    assert [(entry.id, entry.path, entry.reason) for entry in found.quarantined] == [
        ("b/8.jpg", f"{tmp_path}/new/b/8.jpg", "empty file"),
        ("loop", f"{tmp_path}/new/loop", "a link to a folder; its photos are not used"),
    ]
    assert photos_below(tmp_path / "new" / "b") == tuple(tmp_path / "new" / "b" / f"{n}.jpg" for n in (8, 9, 10))


@pytest.mark.parametrize("place", ["", "train"])
def test_the_folder_to_predict_is_no_class(tmp_path, write_photo, place):
    for name in ("a/1.jpg", "b/1.jpg", "new/1.jpg"):
        write_photo(tmp_path / place / name, 1)
    layout = Layout(test=tmp_path / place / "new")
    dataset = load_dataset(tmp_path, processes=1, layout=layout)
    assert (dataset.class_names, dataset.test.ids, dataset.quarantined) == (("a", "b"), ("1.jpg",), ())


def test_a_sample_names_photos_in_folders_and_others_are_reported(class_folders, write_photo):
    for name in ("x/1.jpg", "x/2.jpg", "3.jpg"):
        write_photo(class_folders / "test" / name, 7)
    (class_folders / "sample-submission.csv").write_text("Id,Category\nx/2.jpg,9\n../1.jpg,9\n3.jpg,9\n")
    dataset = load_dataset(class_folders, processes=1)
    assert dataset.test.ids == ("x/2.jpg", "3.jpg")
    assert [(entry.id, entry.reason) for entry in dataset.quarantined] == [
        (
            "../1.jpg",
            "sample-submission.csv line 3: Id '../1.jpg' is not a path inside the data folder, with / between names",
        ),
        ("x/1.jpg", "in no row of sample-submission.csv"),
    ]


def test_a_sample_without_its_folder_misses_every_photo(class_folders):
    (class_folders / "sample-submission.csv").write_text("Id,Category\n1.jpg,9\n2.jpg,9\n")
    found = load_unlabelled(class_folders, processes=1)
    assert (found.ids, len(found.photos)) == ((), 0)
    assert [entry.path for entry in found.quarantined] == ["test_upload/1.jpg", "test_upload/2.jpg"]
    assert {entry.reason.partition(": ")[2] for entry in found.quarantined} == {"no such file"}


def test_no_folder_to_predict_is_no_error_until_one_is_named(class_folders):
    assert load_unlabelled(class_folders, processes=1).ids == ()
    with pytest.raises(DataError, match=r"away: no such folder; expected the photos to predict \(data.test\)"):
        load_unlabelled(class_folders, processes=1, layout=Layout(test=class_folders / "away"))
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load_dataset(class_folders / "nowhere", processes=1)


def test_train_may_be_a_link_to_anywhere_but_a_class_in_it_may_not(tmp_path, write_photo):
    write_photo(tmp_path / "disk" / "a" / "1.jpg", 0)
    write_photo(tmp_path / "elsewhere" / "1.jpg", 1)
    (tmp_path / "disk" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "train").symlink_to(tmp_path / "disk")
    dataset = load_dataset(tmp_path / "root", processes=1)
    assert dataset.train.paths == ("train/a/1.jpg",)
    assert [(entry.path, entry.reason) for entry in dataset.quarantined] == [
        ("train/b", "a link that leaves the data folder")
    ]


def test_names_that_are_not_text_work_for_photos_but_not_for_classes(tmp_path, write_photo):
    write_photo(tmp_path / "photo.jpg", 0)
    for place in (b"a/\xff.jpg", b"b/1.jpg", b"\xfe/1.jpg"):
        path = Path(os.fsdecode(os.fsencode(tmp_path / "root") + b"/" + place))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((tmp_path / "photo.jpg").read_bytes())
    dataset = load_dataset(tmp_path / "root", processes=1)
    assert dataset.train.ids == ("a/\udcff.jpg", "b/1.jpg")
    assert [entry.reason for entry in dataset.quarantined] == ["a name that cannot be a class; rename the folder"]


ODD = ("1.jpg", "2.jpg_large", "st. 12", "4.jpg?w=800", "5.jpg.1", "6.pjpeg", "7.jpg~")


def test_photos_with_odd_suffixes_are_recognised_by_their_signature(tmp_path, write_photo):
    """In all places of photos: to predict, in class folders, and beside rows of a CSV file."""
    root = tmp_path / "root"
    for seed, (folder, name) in enumerate((folder, name) for folder in ("a", "b", "test") for name in ODD):
        write_photo(tmp_path / "photo.jpg", seed)
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / name).write_bytes((tmp_path / "photo.jpg").read_bytes())
    for place in ("a/notes.txt", "test/notes.txt", "test/BMW.md"):
        (root / place).write_text("BMW, no photo")
    (root / "test" / "moving.gif1").write_bytes(b"GIF89a and more")
    found = load_dataset(root, processes=1)
    assert sorted(found.test.ids) == sorted(ODD)
    assert sorted(found.train.ids) == sorted(f"{folder}/{name}" for folder in "ab" for name in ODD)
    assert [(entry.path, entry.reason.partition(";")[0]) for entry in found.quarantined] == [
        ("a/notes.txt", "not a photo by its name or its first bytes"),
        ("test/moving.gif1", "a GIF file"),
    ]
    assert {path.name for path in photos_below(root / "test")} == {*ODD, "moving.gif1"}
    (root / "labels.csv").write_text("path,label\na/1.jpg,a\nb/1.jpg,b\n")
    strays = {entry.path for entry in load_dataset(root, processes=1).quarantined if "in no row" in entry.reason}
    assert strays == {f"{folder}/{name}" for folder in "ab" for name in ODD[1:]}


def test_class_folders_may_hold_photos_with_odd_endings_alone(tmp_path, write_photo):
    for name in ("a", "b"):
        write_photo(tmp_path / name / "1.jpg", ord(name))
        (tmp_path / name / "1.jpg").rename(tmp_path / name / "1.jpg_large")
    assert load_dataset(tmp_path, processes=1).class_names == ("a", "b")


def test_unreadable_files_below_a_folder_are_reported(tmp_path, write_photo):
    write_photo(tmp_path / "new" / "1.jpg", 0)
    (tmp_path / "new" / "2.jpg").symlink_to("gone.jpg")
    (tmp_path / "new" / "loop").symlink_to(tmp_path / "new")
    assert unusable_below(tmp_path / "new") == (
        (tmp_path / "new" / "2.jpg", "a link to nothing"),
        (tmp_path / "new" / "loop", "a link to a folder; its photos are not used"),
    )


@pytest.mark.parametrize("sign", ["\t", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u2029"])
def test_folders_and_tables_refuse_the_same_class_names(tmp_path, write_photo, sign):
    for seed, name in enumerate((f"a{sign}b", "c", "d")):
        write_photo(tmp_path / name / "1.jpg", seed)
    by_folder = load_dataset(tmp_path, processes=1)
    assert by_folder.class_names == ("c", "d")
    assert [entry.reason for entry in by_folder.quarantined] == ["a name that cannot be a class; rename the folder"]
    write_photo(tmp_path / "other" / "train" / f"a{sign}b" / "1.jpg", 1)
    write_photo(tmp_path / "other" / "train" / "c" / "2.jpg", 2)
    rows = [("1.jpg", f"a{sign}b"), ("2.jpg", "c")]
    for name, prefix in (("train.csv", ""), ("labels.csv", "train/")):
        columns = "Id,Category" if name == "train.csv" else "path,label"
        lines = [f'{prefix + (label + "/" if prefix else "")}{id_},"{label}"' for id_, label in rows]
        (tmp_path / "other" / name).write_text("\n".join((columns, *lines)) + "\n", encoding="utf-8", newline="")
        layout = Layout(labels=tmp_path / "other" / name if prefix else None)
        by_table = load_dataset(tmp_path / "other", processes=1, layout=layout)
        assert by_table.class_names == ("c",)
        reasons = [entry.reason for entry in by_table.quarantined if entry.reason.startswith(f"{name} line")]
        assert [reason.endswith("is not a one-line text") for reason in reasons] == [True]


@given(st.text(min_size=1, max_size=5), st.sampled_from(["\u200b", "\u00ad", "\ufe0f", " ", "\xa0", "\u2009"]))
def test_names_look_the_same_whatever_cannot_be_seen(name, sign):
    assert confusable_key(name.upper()) == confusable_key(confusable_key(name.upper()))
    assert confusable_key(f"{sign}{name}{sign}") == confusable_key(name)
    assert confusable_key(f"{name} {sign} x") == confusable_key(f"{name} x")


def test_names_that_look_different_are_not_alike():
    names = ["BMW X5", "BMW X6", "BMWX5", "9", "09", "Лада", "Лаба", "e", "ё", "X-5", "X 5"]
    assert len({confusable_key(name) for name in names}) == len(names)
    assert confusable_key("Кalina") == confusable_key("Kаlina") == confusable_key("kalina")
    assert confusable_key("Кalina", merge_alphabets=False) != confusable_key("Kalina", merge_alphabets=False)


def test_a_folder_is_listed_once_with_the_kind_of_each_entry(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("10.jpg", "9.jpg", ".hidden", "b/c.jpg"):
        (tmp_path / "a" / name).touch()
    tree = Tree(tmp_path)
    assert list(tree.listed("a").entries.items()) == [
        ("9.jpg", Kind.FILE),
        ("10.jpg", Kind.FILE),
        ("b", Kind.FOLDER),
    ]
    (tmp_path / "a" / "new.jpg").touch()
    assert tree.locate("a/new.jpg") == ("a/new.jpg", "no such file")
    assert tree.locate("a/b/c.jpg") == ("a/b/c.jpg", "")
    assert tree.locate("a/.hidden") == ("a/.hidden", "a hidden or system file")
    assert [path for path, _ in tree.walk("a")] == ["a/9.jpg", "a/10.jpg", "a/b/c.jpg"]
    assert tree.listed("gone").entries == {}


@given(st.lists(st.text("ab019 ./й", max_size=6), unique=True))
def test_natural_order_is_total(names):
    backwards = names[::-1]
    assert len({str(natural_key(name)) for name in names}) == len(names)
    for key in (natural_key, path_key, class_order):
        assert sorted(names, key=key) == sorted(backwards, key=key)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.text("ab ", max_size=3))
def test_numbers_in_names_count_by_value(low, high, text):
    low, high = sorted((low, high))
    assert natural_key(f"{text}{low}.jpg") <= natural_key(f"{text}{high}.jpg")
    if low < high:
        assert sort_class_names({f"{text}{high}", f"{text}{low}"}) == (f"{text}{low}", f"{text}{high}")


def test_numbers_of_thousands_of_digits_are_names_too():
    long = "9" * 5000
    assert sort_class_names({long, "10", "a", f"1{long}"}) == ("10", long, f"1{long}", "a")


@given(st.text(max_size=8))
def test_confusable_names_share_a_key(name):
    assert normalized_name(normalized_name(name)) == normalized_name(name)
    assert normalized_name(f" {name}\t") == normalized_name(name)


@pytest.mark.parametrize("name", [".DS_Store", "THUMBS.DB", "desktop.ini", "._a.jpg", "__MACOSX"])
def test_system_files_are_junk(name):
    assert is_junk(name)
    assert not is_junk(f"a{name}")


def test_a_photo_has_a_photo_suffix_or_none():
    assert all(may_be_photo(name) for name in ("a.jpg", "A.JPEG", "b.WebP", "noending", "x.heic"))
    assert not any(may_be_photo(name) for name in ("a.txt", "b.csv", "film.mp4", "a.jpg.zip"))


@pytest.mark.real
def test_the_contests_tables_are_checked_without_photos(shared, tmp_path):
    for name in ("train.csv", "sample-submission.csv"):
        (tmp_path / name).write_bytes((shared / "data" / "kaggle_csv" / name).read_bytes())
    found = find_layout(tmp_path, Layout())
    assert found.kind is LayoutKind.CONTEST
    labelled, unlabelled = (
        labelled_candidates(found),
        unlabelled_candidates(tmp_path, Layout(), read_sample(tmp_path / "sample-submission.csv")),
    )
    assert (len(labelled.rows), len(labelled.refused)) == (0, 15_561)
    assert (len(unlabelled.rows), len(unlabelled.refused)) == (0, 6_675)
    assert {reason for _, reason in (*labelled.refused, *unlabelled.refused)} == {"no such file"}
    assert sort_class_names(set(labelled.classes)) == tuple("0123456789")
    with pytest.raises(DataError) as error:
        load_dataset(tmp_path, processes=1)
    assert "none of its 15,561 photos can be used" in str(error.value)
    assert "15,561 × no such file (train.csv line 2: train/0/100155.jpg)" in str(error.value)
    assert len(str(error.value)) < 400


def test_a_submission_is_asked_for_if_there_are_photos_to_predict_or_a_sample(class_folders, write_photo):
    def asks() -> bool:
        return asks_for_submission(class_folders, Layout())

    assert not asks()
    folder = class_folders / "test"
    folder.mkdir()
    (folder / "notes.txt").write_text("none yet", encoding="utf-8")
    assert not asks(), "no photo is in it"
    sample = class_folders / "sample-submission.csv"
    for text in ("Id,Category\n1.jpg,0\n", "not a sample"):
        sample.write_text(text, encoding="utf-8")
        assert asks(), "submit says what is wrong"
    sample.unlink()
    (folder / "linked").symlink_to(class_folders / NAMES[0])
    assert asks(), "submit says why its photos are not used"
    (folder / "linked").unlink()
    assert not asks()
    write_photo(folder / "1.jpg", 1)
    assert asks()
