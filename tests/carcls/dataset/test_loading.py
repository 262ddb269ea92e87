import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.dataset.loading import load_dataset, sort_class_names
from carcls.dataset.names import natural_key
from carcls.dataset.scan import scan_photos
from carcls.errors import DataError
from carcls.photos.photo import digest_of


def test_reads_the_contest_layout(make_root):
    root = make_root({"2": 2, "10": 1, "9": 1}, test=2)
    dataset = load_dataset(root, processes=1)
    assert dataset.class_names == ("2", "9", "10")
    assert dataset.train.ids == ("20.jpg", "21.jpg", "100.jpg", "90.jpg")
    assert dataset.train.paths[2] == "train/10/100.jpg"
    assert dataset.train.labels.tolist() == [0, 0, 2, 1]
    assert dataset.train.labels.dtype == np.int64
    assert dataset.train.digests[0] == digest_of((root / "train/2/20.jpg").read_bytes())
    assert dataset.test.ids == ("0.jpg", "1.jpg")
    assert dataset.test.labels.tolist() == [-1, -1]
    assert dataset.quarantined == ()
    assert dataset.sample_submission is None


def test_unusable_photos_are_quarantined_by_name(make_root):
    root = make_root({"0": 3, "1": 2}, test=2)
    (root / "train/0/01.jpg").write_bytes(b"\xff\xd8\xff broken")
    (root / "train/1/11.jpg").unlink()
    (root / "test_upload/0.jpg").write_text("no photo")
    with (root / "train.csv").open("a") as file:
        file.write("../x.jpg,0\n00.jpg,0\n")
    dataset = load_dataset(root, processes=1)
    assert dataset.train.ids == ("00.jpg", "02.jpg", "10.jpg")
    assert dataset.test.ids == ("1.jpg",)
    assert [(entry.id, entry.path) for entry in dataset.quarantined] == [  # rows first, then what no row names
        ("01.jpg", "train/0/01.jpg"),
        ("11.jpg", "train/1/11.jpg"),
        ("../x.jpg", "train/0/../x.jpg"),
        ("00.jpg", "train/0/00.jpg"),
        ("0.jpg", "test_upload/0.jpg"),
    ]
    reasons = [entry.reason for entry in dataset.quarantined]
    assert reasons[1] == "train.csv line 6: no such file"
    assert reasons[3] == "train.csv line 8: Id already occurs in line 2"
    assert reasons[4] == "not a JPEG, PNG or WebP file"


def test_test_photos_follow_the_sample_and_broken_ones_stay_recoverable(make_root):
    root = make_root({"0": 1}, test=3)
    (root / "test_upload/1.jpg").write_bytes(b"")
    (root / "sample-submission.csv").write_text("Id,Category\n2.jpg,0\n1.jpg,0\nabsent.jpg,0\n0.jpg,0\n")
    dataset = load_dataset(root, processes=1)
    assert dataset.test.ids == ("2.jpg", "0.jpg")
    assert [entry.id for entry in dataset.quarantined] == ["1.jpg", "absent.jpg"]
    assert dataset.sample_submission == root / "sample-submission.csv"


def test_test_photos_without_sample_come_in_natural_order(make_root, write_photo):
    root = make_root({"0": 1})
    for name in ("10.jpg", "9.jpg", "b2.jpg", "b10.jpg", "a.jpg"):
        write_photo(root / "test_upload" / name, 1)
    assert load_dataset(root, processes=1).test.ids == ("9.jpg", "10.jpg", "a.jpg", "b2.jpg", "b10.jpg")


def test_a_class_without_a_usable_photo_is_dropped(make_root):
    root = make_root({"0": 1, "1": 1})
    (root / "train/0/00.jpg").unlink()
    dataset = load_dataset(root, processes=1)
    assert dataset.class_names == ("1",)
    assert dataset.train.labels.tolist() == [0]


def test_an_empty_result_says_why(make_root):
    root = make_root({"0": 2})
    (root / "train").rename(root / "elsewhere")
    with pytest.raises(
        DataError, match=r"none of its 2 photos can be used.* 2 × no such file \(train.csv line 2: train/0/00.jpg"
    ):
        load_dataset(root, processes=1)
    (root / "train.csv").write_text("Id,Category\n")
    with pytest.raises(DataError, match="the file has no rows"):
        load_dataset(root, processes=1)


def test_processes_change_nothing(make_root):
    root = make_root({"0": 70, "1": 70})
    (root / "train/1/13.jpg").write_bytes(b"broken")
    alone, several = (load_dataset(root, processes=processes) for processes in (1, 2))
    assert alone == several
    assert [entry.id for entry in several.quarantined] == ["13.jpg"]


def test_scans_in_a_daemonic_process(make_root):
    """Ray and Keras start daemonic processes, which cannot have children."""
    from multiprocessing import get_context

    root = make_root({"0": 130})
    paths = sorted((root / "train/0").iterdir())
    with get_context("spawn").Pool(1) as pool:
        scans = pool.apply(scan_photos, (paths,), {"processes": 2})
    assert scans == scan_photos(paths, processes=1)


@given(st.sets(st.text("0123456789ab", min_size=1, max_size=3)))
def test_class_names_sort_numbers_by_value_first(names):
    ordered = sort_class_names(names)
    numbers = [name for name in ordered if name.isdigit()]
    assert set(ordered) == names
    assert [int(name) for name in numbers] == sorted(int(name) for name in numbers)
    assert list(ordered) == numbers + sorted(names - set(numbers), key=natural_key)


@pytest.mark.real
def test_reads_the_real_photos(shared):
    dataset = load_dataset(shared / "data" / "cars10", processes=2)
    assert (len(dataset.train), len(dataset.test), dataset.quarantined) == (722, 182, ())
    assert dataset.class_names == tuple("0123456789")
    assert np.bincount(dataset.train.labels).tolist() == [68, 68, 67, 104, 66, 72, 70, 70, 66, 71]
    assert dataset.test.ids[0] == "23500.jpg"  # the sample's order, not the folder's
