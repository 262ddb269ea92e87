"""Which folders beside the named photos are reported."""

from pathlib import Path

import pytest

from carcls.dataset.labelled import labelled_candidates
from carcls.dataset.layouts import Layout, find_layout

LABELS = "path,label\nimg/1.jpg,a\nimg/2.jpg,b\n"


def placed(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def unread(root: Path, layout: Layout) -> list[tuple[str, str]]:
    return [(row.path, reason) for row, reason in labelled_candidates(find_layout(root, layout)).unread]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    placed(tmp_path, "img/1.jpg", "img/2.jpg", "extra/a/3.jpg")
    (tmp_path / "labels.csv").write_text(LABELS, encoding="utf-8")
    return tmp_path


def test_a_folder_without_rows_is_reported_unless_its_photos_are_extra_ones(root):
    told = [("extra", "no row of labels.csv names a photo in it")]
    assert unread(root, Layout()) == told
    assert unread(root, Layout(extra=root / "extra")) == []
    placed(root, "extra2/a/4.jpg")
    assert unread(root, Layout(extra=root / "extra")) == [("extra2", told[0][1])]


def test_pictures_of_a_study_are_no_photos_that_rows_lack(root):
    placed(root, "results/cars/study.log", "results/cars/retrain/views/1.png")
    assert [path for path, _ in unread(root, Layout(extra=root / "extra"))] == []
    placed(root, "results/mine/5.jpg")
    assert [path for path, _ in unread(root, Layout(extra=root / "extra"))] == ["results"]


def test_extra_photos_beside_train_are_not_said_to_be_unused(tmp_path):
    placed(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "extra/a/3.jpg")

    def refused(layout: Layout) -> list[str]:
        return [row.path for row, _ in labelled_candidates(find_layout(tmp_path, layout)).refused]

    assert refused(Layout()) == ["extra"]
    assert refused(Layout(extra=tmp_path / "extra")) == []


@pytest.mark.parametrize(
    ("names", "nested", "classes"),
    [
        (("a/1.jpg", "b/1.jpg", "extra/1.jpg", "extra/labels.csv"), False, ["a", "b"]),
        (("a/1.jpg", "b/1.jpg", "extra/a/1.jpg"), False, ["a", "b"]),
        (("train/a/1.jpg", "train/b/1.jpg", "extra/1.jpg", "extra/labels.csv"), False, ["a", "b"]),
        (("Audi/A4/1.jpg", "BMW/3/1.jpg", "extra/Audi/A4/2.jpg"), True, ["Audi/A4", "BMW/3"]),
        (("train/Audi/A4/1.jpg", "train/BMW/3/1.jpg", "extra/Audi/A4/2.jpg"), True, ["Audi/A4", "BMW/3"]),
        (("Audi/A4/1.jpg", "Audi/extra/A4/2.jpg", "BMW/3/1.jpg"), True, ["Audi/A4", "BMW/3"]),
    ],
)
def test_extra_photos_are_in_no_class(tmp_path, names, nested, classes):
    placed(tmp_path, *names)
    (extra,) = tmp_path.rglob("extra")
    found = labelled_candidates(find_layout(tmp_path, Layout(nested=nested, extra=extra)))
    assert sorted(found.classes) == classes
    assert {row.category for row in found.rows} == set(classes)
    assert found.refused == ()


def test_a_folder_of_extra_photos_that_is_not_in_the_data_folder_hides_nothing(tmp_path):
    placed(tmp_path, "cars/a/1.jpg", "cars/b/1.jpg")
    for extra in (tmp_path, tmp_path / "cars", tmp_path / "more"):
        layout = Layout(extra=extra)
        assert sorted(labelled_candidates(find_layout(tmp_path / "cars", layout)).classes) == ["a", "b"]
