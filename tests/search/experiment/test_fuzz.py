"""Any file is either an experiment or raises an ExperimentError with a position."""

import copy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from carcls.config import TrainConfig
from search.errors import ExperimentError
from search.experiment.experiment import load
from search.experiment.file.yaml_source import dump, parse_source, walk
from tests.helpers.mutations import mutated

EXPERIMENTS = sorted((Path(__file__).parents[3] / "experiments").glob("*.yaml"))
DEMO = next(path for path in EXPERIMENTS if path.stem == "demo").read_text(encoding="utf-8")
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
WORDS = st.sampled_from(
    [
        "choice",
        "uniform",
        "loguniform",
        "int",
        "step",
        "log",
        "name",
        "stages",
        "backbone",
        "head",
        "weights",
        "x.h5",
        "~/x.h5",
    ]
)
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=3),
)


def outcome(path, overrides=()):
    try:
        return load(path, overrides)
    except ExperimentError as error:
        return error.problems


def survives(path, content, overrides=()):
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    found = outcome(path, overrides)
    if isinstance(found, tuple):
        assert found
        assert all(problem.where and problem.key and problem.message for problem in found)
        return
    assert isinstance(found.retrain_config(found.bind(found.baseline)), TrainConfig)
    path.write_text(found.resolved_yaml(), encoding="utf-8")
    assert load(path) == found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "f.yaml"


@given(text=st.text() | st.text("{}[]:,-&*!|>'\"%@`#? \n\tab1", max_size=40))
@example(text="%YAML 9.9\n---\na: 1")
@example(text="%TAG ! tag:x\n--- !a")
@example(text="a: !!int x")
@example(text="a: !!float x")
@example(text="a: !!bool x")
@example(text="a: !!null x")
@example(text="a: !!timestamp x")
@example(text="[" * 400)
@example(text="a: " * 3000)
@SETTINGS
def test_random_text(path, text):
    survives(path, text)


@given(content=mutated([path.read_bytes() for path in EXPERIMENTS]))
@example(content=b"\xff\xfe" + DEMO.encode("utf-16-le"))
@example(content=DEMO.encode() + b"\0")
@example(content=b'name: "\\ud800"\n' + DEMO.partition("\n")[2].encode())
@SETTINGS
def test_every_experiment_with_bytes_damaged(path, content):
    survives(path, content)


@given(tree=VALUES)
@SETTINGS
def test_any_tree(path, tree):
    survives(path, dump({"name": "any", "train": tree, "search": tree}))
    survives(path, dump({"v": tree}).partition(":")[2])


@given(data=st.data())
@SETTINGS
def test_demo_with_characters_changed(path, data):
    text = DEMO
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 20)))
        text = text[:start] + data.draw(st.text(max_size=4) | WORDS) + text[end:]
    survives(path, text)


@given(data=st.data())
@SETTINGS
def test_demo_with_values_replaced_removed_and_added(path, data):
    tree = copy.deepcopy(parse_source(DEMO, "demo").tree)
    for _ in range(data.draw(st.integers(1, 3))):
        places = [place for place, _ in walk(tree) if place]
        *above, last = data.draw(st.sampled_from(places))
        parent = tree
        for key in above:
            parent = parent[key]
        if isinstance(parent, dict) and data.draw(st.booleans()):
            del parent[last]
        else:
            parent[last] = data.draw(VALUES)
    survives(path, dump(tree))


@given(data=st.data())
@SETTINGS
def test_demo_under_random_overrides(path, data):
    places = [".".join(map(str, place)) for place, _ in walk(parse_source(DEMO, "demo").tree) if place]
    paths = st.sampled_from(places) | st.text(max_size=8)
    texts = st.text(max_size=6) | VALUES.map(lambda value: dump({"v": value}).partition(":")[2])
    survives(path, DEMO, [f"{data.draw(paths)}={data.draw(texts)}" for _ in range(data.draw(st.integers(1, 3)))])
