from importlib.util import find_spec
from pathlib import Path

import pytest

from carcls.dataset.layouts import Layout
from search.errors import ExperimentError
from search.experiment.experiment import load
from search.experiment.file.paths import make_absolute, missing_files

HERE = Path("/here")

EXPERIMENT = """\
name: small
data: {root: photos, labels: tables/cars.csv, path_column: where, label_column: make, test: new}
train:
  backbone: MobileNet
  weights: none
  image_size: 64
  batch_size: 8
  stages: [{name: head, unfreeze: 0, epochs: 1, learning_rate: 1e-3}]
"""


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(EXPERIMENT)
    return path


def test_the_layout_has_absolute_paths(file, tmp_path):
    data = load(file).data
    assert data.layout == Layout(tmp_path / "tables" / "cars.csv", "where", "make", tmp_path / "new")
    assert load(file, ["data.labels=null", "data.path_column=null", "data.label_column=null"]).data.layout == Layout(
        test=tmp_path / "new"
    )
    assert load(file, ["data.extra=more"]).data.layout.extra == tmp_path / "more"


def test_the_frozen_copy_keeps_the_layout(file, tmp_path, monkeypatch):
    experiment = load(file)
    (tmp_path / "frozen.yaml").write_text(experiment.resolved_yaml())
    monkeypatch.chdir("/")
    assert load(tmp_path / "frozen.yaml").data == experiment.data


def test_what_of_the_layout_is_not_here_is_named(file, tmp_path):
    assert [str(problem).partition(": ")[2] for problem in load(file).missing_files()] == [
        f"data.root: no such folder: {tmp_path / 'photos'}",
        f"data.labels: no such file: {tmp_path / 'tables' / 'cars.csv'}",
        f"data.test: no such folder: {tmp_path / 'new'}",
    ]


def test_columns_and_endings_may_be_named_without_the_file(file):
    layout = load(file, ["data.labels=null", "data.path_column=a", "data.extension=jpg"]).data.layout
    assert (layout.labels, layout.path_column, layout.extension) == (None, "a", ".jpg")
    with pytest.raises(ExperimentError, match=r"data.extension: .*expected an ending such as .jpg, found 'a/b'"):
        load(file, ["data.extension=a/b"])


DATA_PATHS = ("root", "test", "extra", "labels", "sample", "exclude")
PATH_KEYS = (*(f"data.{key}" for key in DATA_PATHS), "results", "store.root")
EMPTY = "expected a path, found an empty text"


@pytest.mark.parametrize("key", PATH_KEYS)
def test_an_empty_text_set_for_a_path_is_refused(key, file):
    with pytest.raises(ExperimentError) as caught:
        load(file, [f'{key}=""'])
    assert str(caught.value) == f'--set {key}="": {key}: {EMPTY}'


def test_empty_texts_in_the_file_are_refused_with_their_lines(file):
    data = "".join(f"  {key}: ''\n" for key in DATA_PATHS)
    train = EXPERIMENT[EXPERIMENT.index("train:") :]
    file.write_text(f"name: small\ndata:\n{data}results: ''\nstore: {{root: ''}}\n{train}")
    with pytest.raises(ExperimentError) as caught:
        load(file)
    assert str(caught.value).splitlines() == [f"{file}:{line}: {key}: {EMPTY}" for line, key in enumerate(PATH_KEYS, 3)]


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ({"train": {"augment": {"policy": "mine.yaml"}}}, ("train", "augment", "policy")),
        ({"retrain": {"augment": {"policy": "mine.yaml"}}}, ("retrain", "augment", "policy")),
        ({"search": {"baseline": {"augment": {"policy": "mine.yaml"}}}}, ("search", "baseline", "augment", "policy")),
        (
            {"train": {"augment": {"policy": {"choice": ["light", "mine.yaml"]}}}},
            ("train", "augment", "policy", "choice", 1),
        ),
        (
            {"train": {"augment": {"choice": {"own": {"policy": "mine.yaml"}}}}},
            ("train", "augment", "choice", "own", "policy"),
        ),
        ({"train": {"weights": "mine.h5"}}, ("train", "weights")),
    ],
)
def test_files_of_a_training_are_made_absolute_and_missed(tree, place):
    make_absolute(tree, HERE)
    found = tree
    for key in place:
        found = found[key]
    assert found.startswith(f"{HERE}/mine.")
    assert list(missing_files(tree)) == [(place, f"no such file: {found}")]


@pytest.mark.parametrize(
    "tree",
    [
        {"train": {"augment": {"policy": "light"}}},
        {"train": {"policy": "mine.yaml"}},
        {"tta": {"augment": {"policy": "mine.yaml"}}},
        {"train": {"weights": "imagenet"}},
    ],
)
def test_what_is_no_file_stays_as_it_is(tree):
    before = repr(tree)
    make_absolute(tree, HERE)
    assert repr(tree) == before
    assert list(missing_files(tree)) == []


def test_a_backbone_of_kerashub_is_missing_where_it_is_not_installed():
    tree = {
        "train": {"backbone": {"choice": ["MobileNet", "ViTBase16"]}},
        "retrain": {"backbone": "SwinTiny"},
        "name": "ViTBase16",
    }
    found = dict(missing_files(tree))
    if find_spec("keras_hub") is not None:
        assert found == {}
    else:
        assert list(found) == [("train", "backbone", "choice", 1), ("retrain", "backbone")]
        assert found["retrain", "backbone"] == (
            "SwinTiny is a backbone of KerasHub, which is not installed: pip install 'carsearch[hub]'"
        )
