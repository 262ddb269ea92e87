from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.dataset.loading import load_dataset
from carcls.dataset.table import Dataset, ImageTable
from carcls.errors import DataError
from carcls.splits.extra import extra_photos, load_extra, parse_extra, with_extra, write_extra
from carcls.splits.k_folds import make_folds
from carcls.splits.split import all_trained, make_split
from tests.helpers.photos.datasets import dataset

AWAY = Path("/elsewhere")


def away(labels: list[int], digests: list[str]) -> ImageTable:
    names = tuple(f"{number}.jpg" for number in range(len(labels)))
    return ImageTable(AWAY, names, tuple(f"c/{name}" for name in names), np.array(labels), tuple(digests))


def picture(number: int) -> np.ndarray:
    """A photo of soft shapes, unlike any other number's."""
    coarse = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (200, 150), interpolation=cv2.INTER_CUBIC)


def write(root: Path, **photos: dict[str, np.ndarray]) -> Path:
    for name, of_class in photos.items():
        for file, pixels in of_class.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name / file), pixels)
    return root


@pytest.fixture
def own(tmp_path: Path) -> Dataset:
    root = write(
        tmp_path / "own",
        audi={f"{number}.png": picture(number) for number in range(4)},
        bmw={f"{number}.png": picture(10 + number) for number in range(4)},
    )
    return load_dataset(root, processes=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=9, max_size=30), st.integers(1, 12), st.integers(0, 3))
def test_extra_photos_train_in_every_fold_and_are_never_scored(labels, count, seed):
    split = make_split(dataset([0, 1, 2] * 2 + labels), fraction=0.2, seed=seed, holdout_fraction=0.2)
    extra = extra_photos(away([one % 2 for one in range(count)], [f"e{one}" for one in range(count)]), ("0", "1", "2"))
    folds = make_folds(split, count=2, seed=seed)
    for one in (split, all_trained(split), folds.split(0), folds.split(1)):
        longer = with_extra(one, extra)
        assert (longer.validation, longer.holdout) == (one.validation, one.holdout)
        assert longer.train.select(range(len(one.train))) == one.train
        added = longer.train.select(range(len(one.train), len(longer.train)))
        assert added.digests == extra.photos.digests
        assert added.labels.tolist() == [number % 2 for number in range(count)]
        assert added.paths[0] == "/elsewhere/c/0.jpg"
        scored = {*longer.validation.digests, *longer.holdout.digests}
        assert scored.isdisjoint(added.digests)


def test_an_extra_photo_that_is_scored_is_refused_whatever_the_file_says():
    split = make_split(dataset([0] * 5 + [1] * 5), fraction=0.2, seed=0)
    wrong = extra_photos(away([0], [split.validation.digests[0]]), ("0", "1"))
    with pytest.raises(DataError, match=r"/elsewhere/c/0\.jpg: an extra photo is one that is validated"):
        with_extra(split, wrong)


def test_classes_of_the_file_are_those_of_the_study_by_name(tmp_path):
    split = make_split(dataset([0] * 5 + [1] * 5 + [2] * 5), fraction=0.2, seed=0)
    extra = extra_photos(away([2, 0, 2], ["x", "y", "z"]), ("0", "1", "2"))
    assert extra.class_names == ("0", "2")
    write_extra(extra, tmp_path / "extra.csv")
    read = parse_extra((tmp_path / "extra.csv").read_bytes(), tmp_path / "extra.csv", AWAY)
    assert (read.class_names, read.photos) == (extra.class_names, extra.photos)
    assert with_extra(split, read).train.labels[-3:].tolist() == [2, 0, 2]
    with pytest.raises(DataError, match="no such classes in this study: 2"):
        with_extra(make_split(dataset([0] * 5 + [1] * 5), fraction=0.2, seed=0), read)


def test_look_alikes_of_any_labelled_photo_are_left_out_and_named(own, tmp_path):
    root = write(
        tmp_path / "more",
        audi={"new.png": picture(20), "copy.png": picture(1), "saved_again.jpg": picture(2)},
        bmw={"other_label.jpg": picture(3), "new.png": picture(21)},
    )
    (root / "bmw" / "broken.jpg").write_bytes(b"no photo")
    extra, left_out = load_extra(root, own, processes=1, nested=False)
    assert extra.photos.root == root
    assert sorted(extra.photos.paths) == ["audi/new.png", "bmw/new.png"]
    assert extra.class_names == ("audi", "bmw")
    reasons = {Path(entry.path).relative_to(root).as_posix(): entry.reason for entry in left_out}
    assert reasons.keys() == {"audi/copy.png", "audi/saved_again.jpg", "bmw/other_label.jpg", "bmw/broken.jpg"}
    assert reasons["audi/copy.png"] == "looks like audi/1.png, which may be validated; not trained on"
    assert reasons["audi/saved_again.jpg"].startswith("looks like audi/2.png")
    assert reasons["bmw/other_label.jpg"].startswith("looks like audi/3.png")


def test_unknown_classes_are_named(own, tmp_path):
    one = write(tmp_path / "one", audy={"0.png": picture(30)})
    with pytest.raises(DataError, match=r"no such classes in .*own: audy; did you mean 'audi'"):
        load_extra(one, own, processes=1, nested=False)
    two = write(tmp_path / "two", audi={"0.png": picture(30)}, kia={"0.png": picture(31)}, lada={"0.png": picture(32)})
    with pytest.raises(DataError, match=r"two \(data\.extra\): no such classes in .*: kia, lada; expected"):
        load_extra(two, own, processes=1, nested=False)


def test_a_folder_with_nothing_new_is_refused(own):
    with pytest.raises(DataError, match="every photo is a copy or a look-alike"):
        load_extra(own.train.root, own, processes=1, nested=False)


def test_a_csv_file_is_found_as_in_the_data_folder(own, tmp_path):
    root = write(tmp_path / "csv", photos={"a.png": picture(40), "b.png": picture(41)})
    (root / "labels.csv").write_text("path,label\nphotos/a.png,bmw\nphotos/b.png,audi\n", encoding="utf-8")
    extra, left_out = load_extra(root, own, processes=1, nested=False)
    label_of = dict(zip(extra.photos.paths, extra.photos.labels.tolist(), strict=True))
    assert label_of == {"photos/a.png": 1, "photos/b.png": 0}
    assert not left_out
