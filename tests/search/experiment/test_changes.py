"""The tables of changeable settings cover every key, and recorded changes can be reverted."""

from collections.abc import Iterator
from copy import deepcopy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.experiment.changes import FIXED, RESUMABLE, RETRAINABLE, Change, differences, refusal
from search.experiment.file.overrides import apply_overrides
from search.experiment.file.yaml_source import Plain, Source
from search.experiment.search_settings import SearchSettings
from search.experiment.settings import ExperimentSections

names = st.sampled_from(["trials", "budget", "hours", "root", "on"])
values = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
leaves = values | st.lists(values, max_size=2)
trees = st.dictionaries(names, st.recursive(leaves, lambda inner: st.dictionaries(names, inner, max_size=3)))


def keys() -> Iterator[str]:
    """The sections of a file, with the keys of `search` one by one, as in the table."""
    for section in ExperimentSections.model_fields:
        yield from (f"search.{key}" for key in SearchSettings.model_fields) if section == "search" else [section]


def test_every_key_of_a_file_stands_in_the_table_once() -> None:
    tops = [".".join(key.split(".")[:2]) for key in (*RESUMABLE, *FIXED)]
    assert sorted(tops) == sorted(keys())


@pytest.mark.parametrize("key", sorted(FIXED))
def test_a_fixed_key_is_refused_by_name_with_its_reason(key: str) -> None:
    for path in (key, f"{key}.below"):
        assert refusal(f"{path}=1", RESUMABLE) == (
            f"--set {path}=1: {path} cannot change in an existing study: {FIXED[key]}; what can: {', '.join(RESUMABLE)}"
        )


@pytest.mark.parametrize("key", RESUMABLE)
def test_a_key_that_may_change_may(key: str) -> None:
    assert refusal(f"{key}=1", RESUMABLE) is None
    assert refusal(f" {key}.below = 1", RESUMABLE) is None
    assert refusal(f"{key}x=1", RESUMABLE) is not None


def test_whose_key_it_is_is_said() -> None:
    assert "'carsearch retrain'" in (refusal("tta.views=[plain]", RESUMABLE) or "")
    assert "'carsearch resume'" in (refusal("search.trials=9", RETRAINABLE) or "")


@given(trees, trees)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_differences_put_into_one_tree_make_the_other(old: dict, new: dict) -> None:
    old, new = {"search": old}, {"search": new}
    source = Source("cars.yaml", deepcopy(old))
    apply_overrides(source, [change.override for change in differences(old, new)])
    assert told(source.tree) == told(new)
    assert differences(new, new) == []


def told(tree: Plain) -> Plain:
    """Without nulls and empty sections, which equal missing keys."""
    if not isinstance(tree, dict):
        return tree
    inner = {key: told(value) for key, value in tree.items()}
    return {key: value for key, value in inner.items() if value is not None and value != {}}


def test_a_change_reads_well() -> None:
    assert str(Change("search.trials", 4, 8)) == "search.trials: 4 -> 8"
    assert str(Change("search.budget.hours", None, 2.5)) == "search.budget.hours: default -> 2.5"
