import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.dataset import sample_submission
from carcls.dataset.sample_submission import read_sample
from carcls.errors import SubmissionError
from carcls.inference.submission import write_answers, write_submission
from tests.helpers.mutations import mutated, refusal

SHARED = Path(__file__).parents[3].parent / "shared"
NAMES = ("0", "1", "10")


def _sample(folder, text):
    path = folder / "sample-submission.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _one_hot(*classes, count=3):
    return np.eye(count, dtype=np.float32)[list(classes)]


def _write(folder, text, *, ids=("a.jpg",), classes=(0,), **changed):
    arguments = {
        "sample": _sample(folder, text),
        "probabilities": _one_hot(*classes),
        "ids": ids,
        "class_names": NAMES,
        "fallback": "1",
    }
    return write_submission(folder / "out.csv", **{**arguments, **changed})


def test_rows_stand_in_the_samples_order_under_its_header(tmp_path):
    fallen = _write(tmp_path, "photo,kind\nb.jpg,0\na.jpg,1\n", ids=("a.jpg", "b.jpg"), classes=(0, 2))
    assert fallen == ()
    assert (tmp_path / "out.csv").read_text() == "photo,kind\nb.jpg,10\na.jpg,0\n"


def test_ids_without_probabilities_get_the_fallback_and_are_told(tmp_path):
    fallen = _write(tmp_path, "Id,Category\nc.jpg,0\na.jpg,0\nb.jpg,0\n", ids=("a.jpg",), classes=(2,))
    assert fallen == ("c.jpg", "b.jpg")
    assert (tmp_path / "out.csv").read_text() == "Id,Category\nc.jpg,1\na.jpg,10\nb.jpg,1\n"


def test_without_a_sample_every_id_asked_for_has_a_row(tmp_path):
    fallen = write_answers(
        tmp_path / "out.csv",
        asked=("новые/9.jpg", "a, b.jpg", "\udcff.jpg"),
        probabilities=_one_hot(2, 0),
        ids=("новые/9.jpg", "\udcff.jpg"),
        class_names=NAMES,
        fallback="1",
    )
    assert fallen == ("a, b.jpg",)
    expected = 'Id,Category\nновые/9.jpg,10\n"a, b.jpg",1\n'.encode() + b"\xff.jpg,0\n"
    assert (tmp_path / "out.csv").read_bytes() == expected


def test_a_class_of_the_sample_may_have_no_training_photos(tmp_path):
    _write(tmp_path, "Id,Category\na.jpg,0\nb.jpg,Lada\n", ids=("a.jpg", "b.jpg"), classes=(1, 2))
    assert (tmp_path / "out.csv").read_text() == "Id,Category\na.jpg,1\nb.jpg,10\n"


def test_a_sample_as_spreadsheets_save_it(tmp_path):
    _write(tmp_path, '\ufeff"Id","Category"\r\n"a.jpg",""\r\n\r\n')
    assert (tmp_path / "out.csv").read_bytes() == b"Id,Category\na.jpg,0\n"


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_every_id_of_the_sample_gets_one_row_with_its_own_class(tmp_path_factory, data):
    # Ids of spaces alone are refused, and so are ids that differ in surrounding ones only.
    id_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"])).filter(str.strip)
    ids = data.draw(st.lists(id_texts, unique_by=str.strip, min_size=1, max_size=8))
    folder = tmp_path_factory.mktemp("submission")
    with (folder / "sample.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("Id", "Category"), *((id_, "0") for id_ in ids)])
    predicted = data.draw(st.lists(st.sampled_from(ids), unique=True))
    classes = data.draw(st.lists(st.integers(0, 2), min_size=len(predicted), max_size=len(predicted)))
    fallen = write_submission(
        folder / "out.csv",
        sample=folder / "sample.csv",
        probabilities=_one_hot(*classes),
        ids=predicted,
        class_names=NAMES,
        fallback="10",
    )
    written = read_sample(folder / "out.csv")
    expected = dict.fromkeys(ids, "10") | {id_: NAMES[c] for id_, c in zip(predicted, classes, strict=True)}
    assert dict(zip(written.ids, written.labels, strict=True)) == expected
    assert written.ids == tuple(ids)
    assert set(fallen) == set(ids) - set(predicted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "csv:1: empty; expected a header such as Id,Category"),
        ("Id,Category\n", "csv:1: no rows under the header Id,Category"),
        ("Id,Category\na.jpg\n", "csv:2: expected 2 columns, an id and a class, found 1"),
        ("Id,Category\na.jpg,0\n\nb.jpg,0,0\n", "csv:4: expected 2 columns, an id and a class, found 3"),
        ("Id,Category\na.jpg,0\nb.jpg,0\na.jpg,0\n", "csv:4: id 'a.jpg' already occurs in line 2"),
        ("Id,Category\n,0\n", "csv:2: empty id"),
        ("Id,Category\na.jpg,\nb.jpg,Lada\n", "csv:3: class 'Lada' is not in the training data, .*; expected 0, 1"),
        (b"Id,Category\na.jpg,0\n\xff\xfe.jpg,0\n", "csv:3: not UTF-8"),
        ('Id,Category\na.jpg,0\n"b.jpg,0\n', r"csv:\d: not CSV: unexpected end of data"),
        ("Id,Category\n" + "x" * 200_000 + ",0\n", "csv:2: not CSV: field larger than field limit"),
        ("Id,Category\na\0.jpg,0\n", r"csv:2: control character in \['a\\x00.jpg', '0'\]"),
        ('Id,Category\n"a.jpg\n",0\n', r"csv:3: control character in \['a.jpg\\n', '0'\]"),
    ],
)
def test_a_hostile_sample_is_reported_with_file_and_line(tmp_path, text, message):
    with pytest.raises(SubmissionError, match=message):
        _write(tmp_path, text)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ids": ("a.jpg", "b.jpg")}, r"expected \(ids, classes\) = \(2, 3\), found \(1, 3\)"),
        ({"class_names": ("0", "1")}, r"expected \(ids, classes\) = \(1, 2\), found \(1, 3\)"),
        ({"ids": ("a.jpg", "a.jpg"), "classes": (0, 0)}, r"1 id \('a.jpg'\) predicted more than once"),
        ({"probabilities": np.array([[0.2, np.nan, 0.1]])}, r"1 id \('a.jpg'\) without finite probabilities"),
        ({"fallback": "7"}, "fallback: '7' is not a class; expected one of 0, 1, 10"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(tmp_path, changed, message):
    with pytest.raises(SubmissionError, match=message):
        _write(tmp_path, "Id,Category\na.jpg,0\n", **changed)
    assert not (tmp_path / "out.csv").exists()


def test_predicted_ids_missing_from_the_sample_are_counted_and_shown(tmp_path):
    ids = tuple(f"{number}.jpg" for number in range(8))
    with pytest.raises(SubmissionError, match=r"7 ids \('1.jpg', '2.jpg', '3.jpg', '4.jpg', '5.jpg', …\) predicted"):
        _write(tmp_path, "Id,Category\n0.jpg,0\n", ids=ids, classes=(0,) * 8)


def test_a_refusal_keeps_an_earlier_submission(tmp_path):
    (tmp_path / "out.csv").write_text("earlier")
    with pytest.raises(SubmissionError):
        _write(tmp_path, "Id,Category\nb.jpg,0\n")
    assert (tmp_path / "out.csv").read_text() == "earlier"


def test_the_sample_is_never_overwritten(tmp_path):
    sample = _sample(tmp_path, "Id,Category\na.jpg,0\n")
    with pytest.raises(SubmissionError, match="is the sample itself"):
        write_submission(
            sample, sample=sample, probabilities=_one_hot(1), ids=["a.jpg"], class_names=NAMES, fallback="0"
        )
    assert sample.read_text() == "Id,Category\na.jpg,0\n"


def test_a_missing_or_huge_sample_is_refused(tmp_path, monkeypatch):
    with pytest.raises(SubmissionError, match=r"nowhere.csv: no such file; expected the contest's sample"):
        read_sample(tmp_path / "nowhere.csv")
    with pytest.raises(SubmissionError, match="no such file"):
        read_sample(tmp_path)
    monkeypatch.setattr(sample_submission, "MAX_SAMPLE_BYTES", 10)
    with pytest.raises(SubmissionError, match="over 0 MiB"):
        read_sample(_sample(tmp_path, "Id,Category\na.jpg,0\n"))


@pytest.mark.real
def test_the_contests_own_sample(tmp_path):
    path = SHARED / "data" / "kaggle_csv" / "sample-submission.csv"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    ids = read_sample(path).ids
    assert len(ids) == 6675
    names = tuple(str(number) for number in range(10))
    classes = np.arange(len(ids)) % 10
    fallen = write_submission(
        tmp_path / "out.csv",
        sample=path,
        probabilities=np.eye(10)[classes],
        ids=ids,
        class_names=names,
        fallback="0",
    )
    written = read_sample(tmp_path / "out.csv")
    assert (fallen, written.header, written.ids) == ((), ("Id", "Category"), ids)
    assert written.labels == tuple(str(c) for c in classes)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    mutated(
        (
            b"Id,Category\na.jpg,0\nb.jpg,1\n",
            b'\xef\xbb\xbf"Id","Category"\r\n"a, b.jpg",""\r\n',
            "photo,kind\nЖ.jpg,10\n".encode(),
        )
    )
)
def test_a_damaged_sample_is_answered_completely_or_refused(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("damaged")
    sample, out = folder / "sample.csv", folder / "out.csv"
    sample.write_bytes(content)
    answers = {"probabilities": _one_hot(0), "ids": ["a.jpg"], "class_names": NAMES, "fallback": "1"}
    reason = refusal(SubmissionError, lambda: write_submission(out, sample=sample, **answers))
    if reason is not None:
        assert str(sample) in reason
        assert list(folder.iterdir()) == [sample]
        return
    assert read_sample(out).ids == read_sample(sample).ids
    assert {path.name for path in folder.iterdir()} == {"sample.csv", "out.csv"}
