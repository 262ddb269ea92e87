"""The sample submission is checked before the search exactly as `submit` reads it afterwards."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.dataset.layouts import Layout
from carcls.dataset.loading import check_trainable, load_dataset, load_unlabelled
from carcls.dataset.sample_submission import find_sample, read_sample
from carcls.errors import DataError, SubmissionError
from carcls.inference.submission import write_submission
from carcls.inspection.folder_check import examine

SPELLINGS = ("sample-submission.csv", "sample_submission.csv", "SampleSubmission.csv", "Sample Submission.CSV")


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_the_sample(make_root, name):
    root = make_root({"0": 2, "1": 2}, test=3)
    (root / name).write_text("image,label\n2.jpg,0\n0.jpg,1\n")
    found = load_dataset(root, processes=1)
    assert (found.sample_submission, found.test.ids, found.sample_problem) == (root / name, ("2.jpg", "0.jpg"), "")
    assert examine(found, seed=0).sample == name


def test_two_spellings_are_refused_unless_a_setting_decides(make_root):
    root = make_root({"0": 2, "1": 2}, test=2)
    for name, ids in (("sample-submission.csv", "0.jpg"), ("sample_submission.csv", "1.jpg")):
        (root / name).write_text(f"Id,Category\n{ids},0\n")
    found = load_dataset(root, processes=1)
    assert "which sample submission is right, sample-submission.csv or sample_submission.csv?" in found.sample_problem
    with pytest.raises(DataError, match=r"Set data\.sample"):
        check_trainable(found)
    with pytest.raises(SubmissionError, match="which sample"):
        load_unlabelled(root, processes=1)
    named = load_dataset(root, processes=1, layout=Layout(sample=root / "sample_submission.csv"))
    assert (named.test.ids, named.sample_problem) == (("1.jpg",), "")
    assert [(entry.path, entry.reason) for entry in named.quarantined if entry.path.endswith(".csv")] == [
        ("sample-submission.csv", "not used: data.sample is sample_submission.csv")
    ]


@pytest.mark.parametrize(
    "name",
    ["sample_submission.csv.txt", "sample_submission_stage2.csv", "sample_submission.csv.zip", "submission_format.csv"],
)
def test_files_that_resemble_a_sample_are_named(make_root, name):
    root = make_root({"0": 2, "1": 2}, test=1)
    (root / name).write_text("Id,Category\n0.jpg,0\n")
    found = load_unlabelled(root, processes=1)
    assert found.sample_submission is None
    assert [(entry.path, entry.reason.partition(":")[0]) for entry in found.quarantined] == [(name, "not used")]


def test_a_sample_beside_a_configured_folder_is_reported_or_used(make_root, tmp_path, write_photo):
    root = make_root({"0": 2, "1": 2})
    for name in ("a.jpg", "b.jpg"):
        write_photo(tmp_path / "new" / name, 3)
    sample = root / "sample_submission.csv"
    sample.write_text("Id,Category\nb.jpg,0\n")
    alone = load_unlabelled(root, processes=1, layout=Layout(test=tmp_path / "new"))
    assert alone.ids == ("a.jpg", "b.jpg")
    assert [(entry.path, "data.sample" in entry.reason) for entry in alone.quarantined] == [(sample.name, True)]
    both = load_unlabelled(root, processes=1, layout=Layout(test=tmp_path / "new", sample=sample))
    assert (both.ids, both.sample_submission) == (("b.jpg",), sample)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Id,a,b\n0.jpg,0.5,0.5\n", r"csv:1: expected 2 columns.* found 3; submissions with one probability per class"),
        ("Id\n0.jpg\n", "csv:1: expected 2 columns, an id and a class, found 1"),
        ("Id;Category\n0.jpg;0\n", "csv:1: .*found 1; its cells must be separated by commas"),
        ("Id,Category\n0.jpg,0\n 0.jpg,1\n", "csv:3: id '0.jpg' already occurs in line 2"),
        ("Id,Category\n0.jpg,Audi\n1.jpg,BMW\n", "csv:2: class 'Audi' is not in the training data"),
        ("Id,Category\n", "csv:1: no rows under the header"),
    ],
)
def test_an_unusable_sample_is_reported_before_training(make_root, text, message):
    root = make_root({"0": 2, "1": 2}, test=2)
    (root / "sample-submission.csv").write_text(text)
    found = load_dataset(root, processes=1)
    with pytest.raises(DataError, match=message):
        check_trainable(found)
    assert examine(found, seed=0).sample_problem == found.sample_problem
    assert found.test.ids in (("0.jpg", "1.jpg"), ("0.jpg",))


cells = st.text(" ab1.", min_size=1, max_size=4).filter(lambda text: text.strip(" ./"))


@settings(max_examples=30, deadline=None)
@given(st.lists(cells, min_size=1, max_size=5, unique_by=str.strip), st.sampled_from(("Id,Category", " Id , kind")))
def test_spaces_around_cells_stay_and_do_not_hide_a_photo(tmp_path_factory, ids, header):
    """Each id of the sample finds its photo, and the submission repeats the id unchanged."""
    folder = tmp_path_factory.mktemp("spaces")
    sample = folder / "sample.csv"
    sample.write_text("\n".join((header, *(f"{id_}, 1" for id_ in ids))) + "\n")
    read = read_sample(sample)
    assert read.ids == tuple(ids)
    write_submission(
        folder / "out.csv",
        sample=sample,
        probabilities=np.eye(2)[[0] * len(ids)],
        ids=read.ids,
        class_names=("0", "1"),
        fallback="1",
    )
    assert (folder / "out.csv").read_text() == "\n".join((header, *(f"{id_},0" for id_ in ids))) + "\n"


def test_a_photo_is_found_without_the_spaces_of_its_cell(make_root):
    root = make_root({"0": 2, "1": 2}, test=2)
    (root / "sample-submission.csv").write_text("Id,Category\n 1.jpg ,0\n0.jpg, 1\n")
    found = load_dataset(root, processes=1)
    assert (found.test.ids, found.test.paths) == ((" 1.jpg ", "0.jpg"), ("test_upload/1.jpg", "test_upload/0.jpg"))
    assert (found.sample_problem, found.quarantined) == ("", ())


@pytest.mark.parametrize("test", [None, "other/photos"])
def test_an_id_may_begin_with_the_folder_of_photos_to_predict(make_root, tmp_path, test):
    root = make_root({"0": 2, "1": 2}, test=2)
    folder = "test_upload"
    if test is not None:
        (root / "other").mkdir()
        (root / folder).rename(root / test)
        folder = test
    sample = root / "sample-submission.csv"
    sample.write_text(f"Id,Category\n {folder}/1.jpg,0\n{folder.rpartition('/')[2]}/0,1\n")
    layout = Layout(test=test and root / test, sample=sample)
    found = load_dataset(root, processes=1, layout=layout)
    assert found.test.ids == (f" {folder}/1.jpg", f"{folder.rpartition('/')[2]}/0")
    assert [path.rpartition("/")[2] for path in found.test.paths] == ["1.jpg", "0.jpg"]
    assert (found.sample_problem, found.quarantined) == ("", ())
    assert load_unlabelled(root, processes=1, layout=layout).photos == found.test


def test_a_path_below_the_folder_comes_before_one_that_begins_with_its_name(make_root, write_photo):
    root = make_root({"0": 2, "1": 2}, test=1)
    write_photo(root / "test_upload" / "test_upload" / "0.jpg", 9)
    (root / "sample-submission.csv").write_text("Id,Category\ntest_upload/0.jpg,0\n")
    assert load_dataset(root, processes=1).test.paths == ("test_upload/test_upload/0.jpg",)


def test_a_sample_without_a_folder_of_photos_keeps_nothing_from_training(make_root):
    root = make_root({"0": 2, "1": 2})
    (root / "sample-submission.csv").write_text("Id,Category\n5.jpg,0\n")
    found = load_dataset(root, processes=1)
    check_trainable(found)
    assert (found.sample_problem, len(found.train), [one.id for one in found.quarantined]) == ("", 4, ["5.jpg"])


@pytest.mark.parametrize("test", [0, 2])
def test_a_sample_without_a_readable_photo_ends_a_run_before_it_trains(make_root, test):
    root = make_root({"0": 2, "1": 2}, test=test)
    (root / "test_upload").mkdir(exist_ok=True)
    (root / "sample-submission.csv").write_text("Id,Category\nimages/5.jpg,0\n6.jpg,1\n")
    found = load_dataset(root, processes=1)
    with pytest.raises(
        DataError, match=r"csv: none of its 2 ids has a readable photo, such as test_upload/images/5\.jp"
    ):
        check_trainable(found)
    assert examine(found, seed=0).sample_problem == found.sample_problem


def test_no_folder_has_no_sample(tmp_path):
    assert find_sample(tmp_path / "nowhere", Layout()) is None
