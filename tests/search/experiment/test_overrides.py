from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import ExperimentError
from search.experiment.experiment import load
from search.experiment.file.overrides import apply_overrides
from search.experiment.file.yaml_source import parse_source

DEMO = Path(__file__).parents[3] / "experiments" / "demo.yaml"
TEXT = """\
a: {b: 1, c: null}
stages:
  - {name: head, epochs: 1}
  - {name: "0", epochs: 2}
  - {epochs: 3}
model: {choice: {small: {x: 1}, large: {x: 2}}}
"""


def after(*overrides):
    source = parse_source(TEXT, "f.yaml")
    paths = apply_overrides(source, overrides)
    return source, paths


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("a.b=2", ("a", "b"), 2),
        ("a.b=1e-4", ("a", "b"), 1e-4),
        ("a.b=", ("a", "b"), None),
        ("a.b=x=y", ("a", "b"), "x=y"),
        ("a.b={uniform: [0, 1]}", ("a", "b"), {"uniform": [0, 1]}),
        ("a.c.d=3", ("a", "c", "d"), 3),
        ("new.deep.er=4", ("new", "deep", "er"), 4),
        ("stages.head.epochs=5", ("stages", 0, "epochs"), 5),
        ("stages.2.epochs=5", ("stages", 2, "epochs"), 5),
        ("model.small.x=6", ("model", "choice", "small", "x"), 6),
        ("model.choice.small.x=6", ("model", "choice", "small", "x"), 6),
        ("model=7", ("model",), 7),
    ],
)
def test_a_path_leads_to_one_place(override, path, value):
    source, paths = after(override)
    assert paths == (path,)
    found = source.tree
    for key in path:
        found = found[key]
    assert found == value
    assert source.where(path).text == f"--set {override}"


def test_a_path_through_an_empty_list_item_makes_a_section():
    source = parse_source("stages:\n  - {name: head}\n  -\n", "f.yaml")
    assert apply_overrides(source, ["stages.1.head.epochs=2"]) == (("stages", 1, "head", "epochs"),)
    assert source.tree["stages"] == [{"name": "head"}, {"head": {"epochs": 2}}]


def test_an_empty_stage_is_checked_as_any_other(tmp_path):
    text = DEMO.read_text(encoding="utf-8")
    file = tmp_path / "f.yaml"
    file.write_text(text[: text.index("\n  stages:")] + "\n  stages:\n    -\n", encoding="utf-8")
    line = file.read_text(encoding="utf-8").splitlines().index("    -") + 1
    with pytest.raises(ExperimentError, match=rf"f\.yaml:{line}: train\.stages\.0\.name: is missing"):
        load(file, ["train.stages.0.epochs=2"])


def test_a_name_goes_before_a_position():
    source, paths = after("stages.0.epochs=9")
    assert paths == (("stages", 1, "epochs"),)
    assert [stage["epochs"] for stage in source.tree["stages"]] == [1, 9, 3]


def test_later_overrides_win_and_lines_below_a_replaced_section_are_forgotten():
    source, _ = after("a={b: 5}", "a.b=6")
    assert source.tree["a"] == {"b": 6}
    assert source.where(("a",)).text == "--set a={b: 5}"
    assert source.where(("a", "c")).text == "--set a={b: 5}"
    assert source.where(("a", "b")).text == "--set a.b=6"
    assert source.where(("stages",)).text == "f.yaml:2"


@given(st.text(max_size=20))
def test_any_text_is_applied_or_refused(override):
    with suppress(ExperimentError):
        source, _ = after(override)
        assert f"--set {override}" in {position.text for position in source.positions.values()}


def test_an_override_inside_a_section_replaced_later_is_an_error(tmp_path):
    file = tmp_path / "f.yaml"
    file.write_text(DEMO.read_text(encoding="utf-8"), encoding="utf-8")
    for overrides in (["train.backbone=", "train="], ["train.stages.0.epochs=2", "train.stages=[]"]):
        with pytest.raises(ExperimentError, match="train"):
            load(file, overrides)
