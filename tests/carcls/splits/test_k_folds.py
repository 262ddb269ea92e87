from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.dataset.table import ImageTable
from carcls.errors import DataError
from carcls.splits.k_folds import ALWAYS_TRAINS, Folds, make_folds, read_folds, write_folds
from carcls.splits.split import Split


def table(labels, *, start: int = 0) -> ImageTable:
    numbers = range(start, start + len(labels))
    return ImageTable(
        root=Path("r"),
        ids=tuple(f"{number}.jpg" for number in numbers),
        paths=tuple(f"{label}/{number}.jpg" for label, number in zip(labels, numbers, strict=True)),
        labels=np.array(labels),
        digests=tuple(f"{number:032x}" for number in numbers),
    )


def split_of(train, validation, *, groups=(), holdout=None) -> Split:
    classes = tuple(str(label) for label in range(max([*train, *validation]) + 1))
    first = table(train)
    second = table(validation, start=len(train))
    third = None if holdout is None else table(holdout, start=len(train) + len(validation))
    paths = [*first.paths, *second.paths]
    named = tuple(sorted(tuple(sorted(paths[row] for row in group)) for group in groups))
    return Split(classes, first, second, third, named)


LABELS = st.lists(st.integers(0, 3), min_size=8, max_size=40)


@settings(deadline=None)
@given(data=st.data(), labels=LABELS, count=st.integers(2, 5), seed=st.integers(0, 99))
def test_each_photo_validates_once_or_never_and_never_beside_a_copy(data, labels, count, seed):
    labels = [*range(4), *range(4), *labels]
    cut = data.draw(st.integers(1, len(labels) - 1))
    rows = data.draw(st.permutations(range(len(labels))))
    groups = [tuple(sorted(rows[at : at + 2])) for at in range(0, data.draw(st.integers(0, len(rows) // 3)), 2)]
    groups = [group for group in groups if len(group) == 2]
    split = split_of(labels[:cut], labels[cut:], groups=groups)
    try:
        folds = make_folds(split, count=count, seed=seed)
    except DataError:
        return
    assert set(folds.photos.paths) == {*split.train.paths, *split.validation.paths}
    validated = Counter()
    for number in range(count):
        part = folds.split(number)
        assert len(part.validation)
        assert not set(part.train.paths) & set(part.validation.paths)
        assert set(part.train.paths) | set(part.validation.paths) == set(folds.photos.paths)
        assert set(part.train.labels.tolist()) == set(labels), "no class is missing in training"
        validated.update(part.validation.paths)
        for group in split.groups:
            sides = {path in part.validation.paths for path in group}
            assert len(sides) == 1, "look-alikes are on one side"
    assert set(validated.values()) <= {1}
    never = set(folds.photos.paths) - set(validated)
    label_of = dict(zip(folds.photos.paths, folds.photos.labels.tolist(), strict=True))
    for path in never:
        mine = next((group for group in split.groups if path in group), (path,))
        is_contradictory = len({label_of[other] for other in mine}) > 1
        pure = {
            next((g for g in split.groups if p in g), (p,)) for p, label in label_of.items() if label == label_of[path]
        }
        pure = [group for group in pure if len({label_of[other] for other in group}) == 1]
        assert is_contradictory or len(pure) < 2


def test_classes_are_distributed_evenly():
    folds = make_folds(split_of([0] * 10 + [1] * 7, [0] * 3 + [1] * 3), count=4, seed=0)
    for label, counts in ((0, {3, 4}), (1, {2, 3})):
        per_fold = [int((folds.split(number).validation.labels == label).sum()) for number in range(4)]
        assert set(per_fold) == counts
    sizes = [len(folds.split(number).validation) for number in range(4)]
    assert max(sizes) - min(sizes) <= 1


def test_a_class_with_fewer_photos_than_folds_is_missing_only_in_validation():
    folds = make_folds(split_of([0] * 8, [1, 1]), count=4, seed=0)
    validating = [set(folds.split(number).validation.labels.tolist()) for number in range(4)]
    assert sum(1 in labels for labels in validating) == 2
    assert all(set(folds.split(number).train.labels.tolist()) == {0, 1} for number in range(4))


def test_a_class_of_one_photo_and_contradictory_copies_always_train():
    folds = make_folds(split_of([0, 0, 0, 0, 1], [0, 2, 2, 2], groups=[(3, 6)]), count=2, seed=0)
    always = {path for path, number in zip(folds.photos.paths, folds.numbers, strict=True) if number == ALWAYS_TRAINS}
    assert always == {"1/4.jpg", "0/3.jpg", "2/6.jpg"}


def test_folds_depend_on_seed_and_count_alone():
    split = split_of([0, 1] * 20, [0, 1] * 4)
    first = make_folds(split, count=3, seed=1)
    assert np.array_equal(first.numbers, make_folds(split, count=3, seed=1).numbers)
    assert not np.array_equal(first.numbers, make_folds(split, count=3, seed=2).numbers)


def test_too_many_folds_are_refused():
    with pytest.raises(DataError, match="4 photos are too few for 5 folds with validation photos each: ask for fewer"):
        make_folds(split_of([0, 0], [1, 1]), count=5, seed=0)
    with pytest.raises(DataError, match="folds: expected 2 or more, found 1"):
        make_folds(split_of([0, 0], [1, 1]), count=1, seed=0)


@pytest.mark.parametrize("holdout", [None, [0, 1]])
def test_folds_csv_is_read_back(tmp_path, holdout):
    folds = make_folds(split_of([0, 1] * 6, [0, 1, 2], groups=[(0, 2)], holdout=holdout), count=3, seed=5)
    write_folds(folds, tmp_path / "folds.csv")
    found = read_folds(tmp_path / "folds.csv", Path("r"))
    assert (found.class_names, found.count, found.groups, found.holdout) == (
        folds.class_names, folds.count, folds.groups, folds.holdout,
    )  # fmt: skip
    assert numbers_by_path(found) == numbers_by_path(folds)
    write_folds(found, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "folds.csv").read_bytes()
    for number in range(3):
        assert set(found.split(number).validation.paths) == set(folds.split(number).validation.paths)
        assert found.split(number).holdout == folds.holdout


def numbers_by_path(folds: Folds) -> dict[str, int]:
    return dict(zip(folds.photos.paths, folds.numbers.tolist(), strict=True))


def test_exact_copies_stay_together_in_splits_without_stored_groups():
    split = split_of([0] * 6, [0] * 2)
    same = split.train.digests[0]
    copies = ImageTable(
        split.validation.root, split.validation.ids, split.validation.paths, split.validation.labels, (same, same)
    )
    folds = make_folds(Split(split.class_names, split.train, copies), count=3, seed=0)
    numbers = numbers_by_path(folds)
    assert numbers[split.train.paths[0]] == numbers[copies.paths[0]] == numbers[copies.paths[1]]
