from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.errors import DataError
from carcls.splits.k_folds import ALWAYS_TRAINS, make_folds, read_folds, write_folds
from carcls.splits.look_alikes import look_alikes
from carcls.splits.split import make_split
from carcls.splits.split_files import read_split, write_split
from carcls.splits.units import Units, joined, whole_units
from tests.helpers.photos.datasets import dataset


@st.composite
def grouped(draw):
    """A data folder with copies, and groups that span classes."""
    class_count = draw(st.integers(1, 4))
    labels = [*range(class_count), *draw(st.lists(st.integers(0, class_count - 1), max_size=30))]
    digests = draw(st.lists(st.integers(0, 40).map(str), min_size=len(labels), max_size=len(labels)))
    names = draw(st.lists(st.sampled_from(["", *"abcdefgh"]), min_size=len(labels), max_size=len(labels)))
    return replace(dataset(labels, digests), own_groups=tuple(names))


def sides(split, names) -> dict[str, set[int]]:
    """Sides of a split on which each name occurs. names: of each photo, by its id."""
    found: dict[str, set[int]] = {}
    for side, table in enumerate(filter(None, (split.train, split.validation, split.holdout))):
        for id_ in table.ids:
            if names[id_]:
                found.setdefault(names[id_], set()).add(side)
    return found


def by_id(data):
    groups = dict(zip(data.train.ids, data.own_groups, strict=True))
    copies = dict(zip(data.train.ids, data.train.digests, strict=True))
    return groups, copies


@given(grouped(), st.floats(0.05, 0.5), st.sampled_from([0.0, 0.2]), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_groups_and_copies_are_on_one_side_and_no_class_leaves_training(data, fraction, holdout_fraction, seed):
    try:
        split = make_split(data, fraction=fraction, holdout_fraction=holdout_fraction, seed=seed)
    except DataError:
        return
    for names in by_id(data):
        assert all(len(found) == 1 for found in sides(split, names).values())
    assert set(split.train.labels.tolist()) == set(data.train.labels.tolist())
    assert len(split.validation)
    parts = [table for table in (split.train, split.validation, split.holdout) if table is not None]
    assert sorted(id_ for part in parts for id_ in part.ids) == sorted(data.train.ids)


@given(grouped(), st.integers(2, 4), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_a_folds_training_has_no_photo_group_or_copy_of_its_validation(data, count, seed):
    try:
        folds = make_folds(make_split(data, fraction=0.3, seed=seed), count=count, seed=seed)
    except DataError:
        return
    groups, copies = by_id(data)
    for number in range(count):
        part = folds.split(number)
        assert not set(part.train.ids) & set(part.validation.ids)
        for names in (groups, copies):
            assert all(len(found) == 1 for found in sides(part, names).values())
        assert set(part.train.labels.tolist()) == set(folds.photos.labels.tolist()), "no class leaves training"


def test_a_seller_of_several_classes_is_validated_as_a_whole():
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    data = replace(dataset(labels), own_groups=("x", "y", "", "", "x", "y", "", ""))
    seen = {frozenset(make_split(data, fraction=0.25, seed=seed).validation.ids) for seed in range(40)}
    assert frozenset({"0.jpg", "4.jpg"}) in seen
    assert not any(("0.jpg" in ids) != ("4.jpg" in ids) for ids in seen)


def test_copies_with_contradictory_labels_keep_their_whole_group_in_training():
    labels = [0, 1, 0, 0, 1, 1]
    digests = ["same", "same", "b", "c", "d", "e"]
    data = replace(dataset(labels, digests), own_groups=("seller", "", "seller", "", "", ""))
    for seed in range(20):
        split = make_split(data, fraction=0.5, seed=seed)
        assert {"0.jpg", "1.jpg", "2.jpg"} <= set(split.train.ids)


def test_the_only_group_of_a_class_always_trains():
    data = replace(dataset([0, 0, 0, 1, 1, 1, 1]), own_groups=("a", "a", "a", "", "", "", ""))
    split = make_split(data, fraction=0.3, seed=0)
    folds = make_folds(split, count=2, seed=0)
    numbers = dict(zip(folds.photos.ids, folds.numbers.tolist(), strict=True))
    assert [numbers[f"{row}.jpg"] for row in range(3)] == [ALWAYS_TRAINS] * 3
    assert {numbers[f"{row}.jpg"] for row in range(3, 7)} == {0, 1}


def test_own_groups_survive_the_files_and_count_as_one_in_statistics(tmp_path):
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    data = replace(dataset(labels), own_groups=("a", "a", "", "", "a", "", "b", "b"))
    data = replace(data, validation=(0, 1, 4, 6, 7))
    split = make_split(data, fraction=0.5, seed=0)
    write_split(split, tmp_path / "split.csv")
    again = read_split(tmp_path / "split.csv", Path("r"))
    assert again == split
    assert {tuple(path[-5:] for path in group) for group in again.own_groups} == {
        ("0.jpg", "1.jpg", "4.jpg"),
        ("6.jpg", "7.jpg"),
    }
    assert split.validation.ids == ("0.jpg", "1.jpg", "4.jpg", "6.jpg", "7.jpg")
    assert look_alikes([split]).tolist() == [0, 0, 0, 1, 1]
    folds = make_folds(split, count=2, seed=0)
    write_folds(folds, tmp_path / "folds.csv")
    assert read_folds(tmp_path / "folds.csv", Path("r")).own_groups == split.own_groups


def test_files_without_own_groups_have_no_column_for_them(tmp_path):
    split = make_split(dataset([0, 0, 1, 1]), fraction=0.5, seed=0)
    write_split(split, tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_text().splitlines()[0] == "Id,path,Category,digest,fold,group"


def test_an_own_holdout_is_held_out_and_validation_is_drawn_from_the_rest():
    data = replace(dataset([0, 0, 0, 0, 1, 1, 1, 1]), holdout=(0, 4))
    for seed in range(10):
        split = make_split(data, fraction=0.25, seed=seed)
        assert split.holdout.ids == ("0.jpg", "4.jpg")
        assert len(split.validation) == 2
    with pytest.raises(DataError, match=r"data\.holdout\.fraction"):
        make_split(data, fraction=0.25, seed=0, holdout_fraction=0.2)


def test_a_class_found_only_in_the_own_validation_stays_in_training():
    data = replace(dataset([0, 0, 0, 1, 2, 2]), validation=(2, 3), holdout=(5,))
    split = make_split(data, fraction=0.25, seed=0)
    assert split.validation.ids == ("2.jpg",)
    assert split.holdout.ids == ("5.jpg",)
    assert "3.jpg" in split.train.ids


@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=4), max_size=12))
def test_joined_groups_are_the_connected_parts(groups):
    found = joined(groups)
    members = [one for group in found for one in group]
    assert len(members) == len(set(members))
    assert set(members) == {one for group in groups for one in group}
    home = {one: number for number, group in enumerate(found) for one in group}
    assert all(len({home[one] for one in group}) == 1 for group in groups)
    # No coarser than needed: a partition refined by any split of a group would tear one of the given groups.
    parent = {one: one for one in members}

    def root(one):
        return one if parent[one] == one else root(parent[one])

    for group in groups:
        for one in group:
            parent[root(one)] = root(group[0])
    assert len(found) == len({root(one) for one in members})


def test_whole_units_leaves_a_class_its_last_unit():
    units = Units.of(np.array([0, 0, 1]), [(0,), (1,), (2,)])
    assert whole_units(units, {0, 2}) == {0}
