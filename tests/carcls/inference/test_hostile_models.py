"""Untrusted model files are refused before Keras creates anything that carsearch does not export."""

import copy
import io
import json
import os
import zipfile
from contextlib import suppress

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.config import StageConfig, TrainConfig
from carcls.errors import CheckpointError
from carcls.inference.export import export_model, load_model
from carcls.inference.model_config import _KINDS, MAX_CONFIG_BYTES, checked_config
from carcls.inference.model_file import CARD
from carcls.inference.model_values import ForeignConfigError
from carcls.models.classifier import Classifier, build_classifier
from tests.helpers.mutations import refusal

SIZE = 32
CONFIG = TrainConfig(
    backbone="MobileNet",
    alpha=0.25,
    weights="none",
    image_size=SIZE,
    batch_size=4,
    precision="float32",
    stages=(StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),),
)


def _export(path, model, names=("a", "b", "c")):
    classifier = Classifier(model, model, "MobileNet")
    export_model(path, classifier, class_names=names, config=CONFIG, size_px=SIZE, tta_views=("plain",))
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    pixels = keras.Input((SIZE, SIZE, 3))
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 25)(pixels))
    model = keras.Model(pixels, keras.layers.Softmax()(keras.layers.Dense(3, name="dense")(means)))
    return _export(tmp_path_factory.mktemp("model") / "model.keras", model)


def _file(tmp_path, whole, **changed):
    """A .keras file of these members with changes to `config`, `card`, `weights`, or the members themselves."""
    members = dict(whole)
    for key, member in (("config", "config.json"), ("card", CARD)):
        if key in changed:
            tree = json.loads(members[member])
            changed[key](tree)
            members[member] = json.dumps(tree).encode()
    if "weights" in changed:
        content = io.BytesIO(members["model.weights.h5"])
        with h5py.File(content, "r+") as file:
            changed["weights"](file)
        members["model.weights.h5"] = content.getvalue()
    changed.get("members", lambda _: None)(members)
    path = tmp_path / "hostile.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _layer(tree, name):
    return next(layer for layer in tree["config"]["layers"] if layer["class_name"] == name)


def _called(module, kind, **config):
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def _set(name, key, value):
    return lambda tree: _layer(tree, name)["config"].update({key: value})


def _function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def _calling(module, function, *arguments):
    """Adds an operation that Keras calls with named functions while loading (`Switch`)."""

    def change(tree):
        feeding = copy.deepcopy(_layer(tree, "Dense")["inbound_nodes"][0]["args"][0])
        node = {"args": [0, [_function(module, function)], *(arguments or (feeding,))], "kwargs": {}}
        switch = _called("keras.src.ops.core", "Switch", name="switch") | {"name": "switch", "inbound_nodes": [node]}
        tree["config"]["layers"].insert(-1, switch)

    return change


KINDS = {
    "a layer with code": lambda tree: _layer(tree, "Rescaling").update(class_name="Lambda"),
    "a SavedModel loader": lambda tree: _layer(tree, "Rescaling").update(class_name="TFSMLayer"),
    "a switch over functions": _calling("keras.config", "set_floatx", "float64"),
    "a switch over a download": _calling("keras.utils", "get_file", "x", "http://127.0.0.1:9/x"),
    "a function for an activation": _set("Dense", "activation", _function("keras.utils", "get_file")),
    "an activation by path": _set("Dense", "activation", "keras.utils.get_file"),
    "an unknown initializer": _set("Dense", "kernel_initializer", _called("keras.initializers", "Constant", value=1)),
    "an initializer by its word": _set("Dense", "kernel_initializer", "zeros"),
    "a constraint": _set("Dense", "kernel_constraint", _called("keras.constraints", "UnitNorm", axis=0)),
    "a class by its module": lambda tree: _layer(tree, "Dense").update(module="os"),
    "another registered name": lambda tree: _layer(tree, "Dense").update(registered_name="package>Dense"),
    "a compiled layer": lambda tree: _layer(tree, "Dense").update(compile_config={"optimizer": "adam"}),
    "layers in a layer that has none": _set("Dense", "layers", [_function("keras.utils", "get_file")]),
    "a type specification": _set("Dense", "dtype", {"class_name": "__typespec__", "config": []}),
    "a setting that is none": _set("Dense", "lora_rank", 4),
    "a name of a megabyte": _set("Dense", "name", "x" * 2**20),
    "a number that is none": _set("Rescaling", "scale", float("nan")),
    "a number without end": _set("Rescaling", "scale", 10**4000),
    "a layer that feeds itself": lambda tree: _layer(tree, "Dense")["inbound_nodes"][0]["args"][0]["config"].update(
        keras_history=["dense", 0, 0]
    ),
    "a layer used twice": lambda tree: _layer(tree, "Dense")["inbound_nodes"].append(
        copy.deepcopy(_layer(tree, "Dense")["inbound_nodes"][0])
    ),
    "a large constant": lambda tree: _layer(tree, "Dense")["inbound_nodes"][0]["args"].append(
        {"class_name": "__numpy__", "config": {"dtype": "float32", "value": [0.0] * 20_000}}
    ),
}


@pytest.mark.parametrize("what", KINDS)
def test_objects_that_are_not_exported_are_not_created(tmp_path, members, what):
    path, floatx = _file(tmp_path, members, config=KINDS[what]), keras.config.floatx()
    with pytest.raises(
        CheckpointError, match=r"hostile\.keras: not a model that Keras can load safely: config\.json: "
    ):
        load_model(path)
    assert keras.config.floatx() == floatx


def test_keras_itself_would_have_called_the_function(members):
    """Shows why the allowlist is needed. If this fails, Keras has closed the hole."""
    tree = json.loads(members["config.json"])
    _calling("keras.config", "set_floatx", "float64")(tree)
    try:
        with suppress(Exception):  # errors after the call do not matter
            keras.saving.deserialize_keras_object(tree, safe_mode=True)
        assert keras.config.floatx() == "float64"
    finally:
        keras.config.set_floatx("float32")


def _appended(*units):
    """Appends Dense layers with these numbers of units."""

    def change(tree):
        layers = tree["config"]["layers"]
        softmax, dense = layers.pop(), _layer(tree, "Dense")
        before = "dense"
        for number, width in enumerate((*units, 3)):
            added = copy.deepcopy(dense)
            added["name"] = added["config"]["name"] = f"dense_{number}"
            added["config"]["units"] = width
            del added["build_config"]
            added["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = before
            layers.append(added)
            before = f"dense_{number}"
        softmax["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = before
        layers.append(softmax)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("Dense", "units", 300_000_000), "units: 300000000; expected an integer from 1 to 65,536"),
        (_appended(65_536, 65_536), "its layers have 4,295,491,599 weights, but the file has 12"),
    ],
)
def test_no_model_is_larger_than_its_file(tmp_path, members, change, message):
    path = _file(tmp_path, members, config=change)
    with pytest.raises(CheckpointError, match=message):
        load_model(path)


def test_a_layer_with_too_many_outputs_is_refused(tmp_path):
    pixels = keras.Input((SIZE, SIZE, 3))
    wide = keras.layers.Conv2D(1025, 1)(pixels)  # 1,025 x 32 x 32 numbers, of 4,100 weights
    means = keras.layers.GlobalAveragePooling2D()(wide)
    members = _export(tmp_path / "wide.keras", keras.Model(pixels, keras.layers.Dense(3)(means)))
    with pytest.raises(CheckpointError, match="has 1,049,600 outputs per photo; expected at most 1,048,576"):
        load_model(_file(tmp_path, members))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.create_dataset("layers/more", (3, 10**9), "f4"), "claims 12,000,000,000 bytes but holds 0"),
        (lambda file: file.update({"layers/more": h5py.ExternalLink(os.devnull, "/")}), "'layers/more' is a link"),
        (lambda file: file.create_dataset("more", (9,), "u1", external=[("/etc/passwd", 0, 9)]), "in another file"),
        (lambda file: file.create_dataset("more", data=np.zeros(10**6), compression="gzip"), "is compressed"),
        (lambda file: file.update({"more": "text"}), "not numbers"),
        (lambda file: file.__delitem__("layers"), "12 weights, but the file has 0"),
    ],
)
def test_weights_inside_are_plain_and_complete(tmp_path, members, change, message):
    with pytest.raises(CheckpointError, match=message):
        load_model(_file(tmp_path, members, weights=change))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"card": lambda card: card.update(size_px=10**9)}, "size_px: Input should be less than or equal to 8192"),
        ({"card": lambda card: card.update(class_names=["a", "b", "c" * 1001])}, "at most 1000 characters"),
        ({"card": lambda card: card.update(class_names=["a"] * 70_000)}, "at most 65536 items"),
        ({"members": lambda held: held.update({CARD: b"[" * 10**5})}, "carsearch.json cannot be used: .*recursion"),
        ({"members": lambda held: held.update({"config.json": b"[" * 10**5})}, "is not JSON"),
        (
            {"members": lambda held: held.update({"config.json": b" " * (MAX_CONFIG_BYTES + 1)})},
            "; expected at most 33,5",
        ),
        ({"members": lambda held: held.update({"assets/x": b""})}, "uncompressed; found 'assets/x'"),
        ({"members": lambda held: held.pop("model.weights.h5")}, "expected .*model.weights.h5"),
    ],
)
def test_card_and_members_are_bounded(tmp_path, members, changed, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(_file(tmp_path, members, **changed))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.keras")
    with pytest.raises(CheckpointError, match="not a regular file"):
        load_model(tmp_path / "pipe.keras")


def test_a_message_is_short_whatever_keras_quotes(tmp_path, members):
    path = _file(tmp_path, members, config=_set("Dense", "groups", 3))
    with pytest.raises(CheckpointError, match="not a model that Keras can load") as caught:
        load_model(path)
    assert len(str(caught.value)) < 1000


@pytest.fixture(scope="module")
def tree():
    classifier = build_classifier(CONFIG, size_px=SIZE, class_count=3, weights=None)
    return json.loads(json.dumps(keras.saving.serialize_keras_object(classifier.model)))


def _places(tree, place=()):
    yield place
    held = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in held:
        yield from _places(value, (*place, key))


def _made(tree):
    """All classes (module, class) and functions that Keras would create from a configuration."""
    if isinstance(tree, dict):
        if "class_name" in tree and not str(tree["class_name"]).startswith("__"):
            yield tree.get("module"), tree["class_name"]
        for value in tree.values():
            yield from _made(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _made(value)


def test_nothing_outside_the_table_passes_whatever_is_changed(tree):
    """Replaces or removes values at random: either the check refuses, or everything is on the allowlist."""
    places, listed = list(_places(tree))[1:], set.union(*_KINDS.values())
    hostile = [
        _function("keras.utils", "get_file"), _called("keras.layers", "Lambda", function="x"),
        _called("os", "system", command="x"), {"class_name": "__lambda__", "config": {}}, None, -1, 2**70, "", [], {},
        [[1], 0, 0], "keras.utils.get_file", 1e308, True,
    ]  # fmt: skip
    passed = 0

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.data())
    def check(data):
        nonlocal passed
        changed = copy.deepcopy(tree)
        for _ in range(data.draw(st.integers(1, 3))):
            *above, last = data.draw(st.sampled_from(places))
            parent = changed
            try:
                for key in above:
                    parent = parent[key]
                parent[last] = copy.deepcopy(data.draw(st.sampled_from(hostile)))
            except (KeyError, IndexError, TypeError):
                continue  # an earlier change removed this place
        reason = refusal(ForeignConfigError, lambda: checked_config(json.dumps(changed).encode()))
        if reason is None:
            passed += 1
            assert set(_made(changed)) <= listed

    check()
    assert passed > 0
