"""Folds reuse the pixels of the study's split: bit-equal to their own, without extra space or decoding."""

import itertools
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.dataset.loading import load_dataset
from carcls.input.pixel_rows import PixelRows
from carcls.input.training_data import TrainingData
from carcls.splits.k_folds import make_folds
from carcls.splits.split import make_split
from carcls.store import Store, take_use
from carcls.store.inventory import survey

SIZE_PX = 8


@pytest.fixture
def study(make_root):
    """17 training and 7 validation photos of three classes."""
    return make_split(load_dataset(make_root({"0": 9, "1": 8, "2": 7}), processes=1), fraction=0.3, seed=0)


@pytest.fixture
def folds(study):
    folds = make_folds(study, count=3, seed=0)
    return [folds.split(number) for number in range(3)]


def own(split, tmp_path):
    return TrainingData(split, Store(tmp_path / "own"), view_seed=0)


def sharing(split, study, tmp_path, **changed):
    store = Store(tmp_path / "shared", **changed)
    return TrainingData(split, store, view_seed=0, shared=(study.train, study.validation))


def some_of(first, end):
    """Up to eight integers from `first` to before `end`."""
    lists = st.lists(st.integers(first, end - 1), max_size=8) if first < end else st.just([])
    return lists.map(lambda chosen: np.array(chosen, np.int64))


@settings(max_examples=200, deadline=None)
@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4), data=st.data())
def test_rows_are_those_of_the_joined_sources_however_they_are_asked_for(sizes, data):
    total = sum(sizes)
    joined = np.arange(total * 12, dtype=np.uint8).reshape(total, 2, 2, 3)
    sources = np.split(joined, np.cumsum(sizes)[:-1])
    chosen = data.draw(some_of(0, total))
    rows, expected = PixelRows(sources, chosen), joined[chosen]
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == (expected.shape, np.uint8, 4, len(chosen))
    bound = st.one_of(st.none(), st.integers(-9, 9))
    asked = slice(data.draw(bound), data.draw(bound), data.draw(st.sampled_from([None, 1, 2, -1])))
    assert np.array_equal(rows[asked], expected[asked])
    places = data.draw(some_of(-len(chosen), len(chosen)))
    assert np.array_equal(rows[places], expected[places])
    assert rows[places].dtype == np.uint8
    for one in places:
        assert np.array_equal(rows[int(one)], expected[one])
    with pytest.raises(IndexError):
        rows[len(chosen)]


def test_a_fold_sees_its_own_pixels_to_the_bit(study, folds, tmp_path):
    for split, part in itertools.product(folds, ("train", "validation")):
        expected = own(split, tmp_path).pixels(part, SIZE_PX)
        found = sharing(split, study, tmp_path).pixels(part, SIZE_PX)
        assert isinstance(found, PixelRows)
        assert found.shape == expected.shape
        assert np.array_equal(found[:], expected)
        off = sharing(split, study, tmp_path / "off", enabled=False).pixels(part, SIZE_PX)
        assert np.array_equal(off[:], expected)


def test_all_folds_decode_what_the_study_has_decoded_and_nothing_more(study, folds, tmp_path):
    before = sharing(study, study, tmp_path)
    take_use()  # discards use by earlier tests
    held = [before.pixels(part, SIZE_PX) for part in ("train", "validation")]
    assert take_use().built == 2
    for split, part in itertools.product(folds, ("train", "validation")):
        sharing(split, study, tmp_path).pixels(part, SIZE_PX)
    assert take_use().built == 0
    files = [entry.read_trailer().artefact.shape for entry in survey(tmp_path / "shared")]
    assert sorted(files) == sorted(array.shape for array in held)


def test_the_studys_own_parts_are_the_maps_themselves(study, tmp_path):
    data = sharing(study, study, tmp_path)
    for part in ("train", "validation"):
        pixels = data.pixels(part, SIZE_PX)
        assert isinstance(pixels, np.memmap)
        assert np.array_equal(pixels, own(study, tmp_path).pixels(part, SIZE_PX))


def test_a_part_with_any_other_photo_is_decoded_by_itself(study, folds, tmp_path):
    split = folds[0]
    data = replace(sharing(split, study, tmp_path), shared=(study.train,))
    assert isinstance(data.pixels("train", SIZE_PX), np.memmap), "some of its photos are validation photos of the study"
    assert np.array_equal(data.pixels("train", SIZE_PX), own(split, tmp_path).pixels("train", SIZE_PX))


def test_copies_of_a_photo_are_read_from_one_of_them(make_root, tmp_path):
    root = make_root({"0": 5, "1": 5})
    shutil.copy(root / "train" / "0" / "00.jpg", root / "train" / "0" / "copy.jpg")
    (root / "train.csv").write_text((root / "train.csv").read_text() + "copy.jpg,0\n")
    study = make_split(load_dataset(root, processes=1), fraction=0.3, seed=0)
    assert len(set(study.train.digests)) + len(set(study.validation.digests)) == 10
    for split in (make_folds(study, count=2, seed=0).split(number) for number in range(2)):
        for part in ("train", "validation"):
            expected = own(split, tmp_path).pixels(part, SIZE_PX)
            assert np.array_equal(sharing(split, study, tmp_path).pixels(part, SIZE_PX)[:], expected)


def test_a_holdout_has_its_own_pixels(make_root, tmp_path):
    dataset = load_dataset(make_root({"0": 9, "1": 8}), processes=1)
    study = make_split(dataset, fraction=0.3, seed=0, holdout_fraction=0.3)
    for split in (make_folds(study, count=2, seed=0).split(number) for number in range(2)):
        data = sharing(split, study, tmp_path)
        assert isinstance(data.pixels("holdout", SIZE_PX), np.memmap)
        assert np.array_equal(data.pixels("holdout", SIZE_PX), own(study, tmp_path).pixels("holdout", SIZE_PX))
    assert len(survey(tmp_path / "shared")) == 1


def test_pixels_cannot_be_written_to(study, folds, tmp_path):
    pixels = sharing(folds[0], study, tmp_path).pixels("train", SIZE_PX)
    with pytest.raises(TypeError):
        pixels[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        pixels[0][:] = 0
