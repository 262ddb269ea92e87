"""Checks the config.json of a .keras file against an allowlist of what `export_model` writes, before Keras sees it.

Keras instantiates whatever a configuration names. Even in safe mode that includes nearly all of its own functions and
classes, some of which read files, download, or change global settings. Here everything that is not in these tables is
rejected. A backbone with a new kind of layer needs a new row.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from carcls.catalog import HUB_INSTALL
from carcls.inference.model_values import (
    SETTINGS,
    ForeignConfigError,
    MissingLibraryError,
    check_choice,
    check_name,
    check_null,
    check_number,
    check_numbers,
    check_photo_shape,
    check_shape,
    check_sides,
    mapping,
    sequence,
    shown,
)
from carcls.models.hub_rows import HUB_ROWS

MAX_CONFIG_BYTES = 32 * 2**20
"""The largest backbone's configuration has 1.2 MB; an ensemble has up to 20 of them."""
_MAX_LAYERS = 25_000
"""NASNetLarge has 1,041."""
_MAX_DEPTH = 4
"""Nested models: an ensemble, a trunk, its backbone, a Sequential inside."""

_LAYERS = "keras.layers"
_OPERATIONS = "keras.src.ops.numpy"
_INITIALIZERS = "keras.initializers"

_MODELS = {("keras.src.models.functional", "Functional"), ("keras", "Sequential")}
_HUB = {(row.module, row.class_name) for row in HUB_ROWS.values()}
"""Backbones of KerasHub, whose settings must be those of a row."""
_KINDS: dict[str, set[tuple[str, str]]] = {
    "layer": _MODELS
    | _HUB
    | {
        (_LAYERS, name)
        for name in (
            *("InputLayer", "Activation", "ReLU", "Softmax", "Dropout", "Rescaling", "Normalization", "Reshape"),
            *("Dense", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "BatchNormalization", "LayerNormalization"),
            *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D"),
            *("ZeroPadding2D", "Cropping1D", "Cropping2D", "Add", "Multiply", "Concatenate", "Average", "Resizing"),
        )
    }
    | {(_OPERATIONS, name) for name in ("Add", "Subtract", "Multiply", "TrueDivide", "Flip")}
    | {
        ("keras.src.applications.convnext", "LayerScale"),
        ("keras.src.applications.inception_resnet_v2", "CustomScaleLayer"),
    },
    "initializer": {
        (_INITIALIZERS, name) for name in ("Zeros", "Ones", "GlorotUniform", "HeNormal", "VarianceScaling")
    },
    "regularizer": {("keras.regularizers", "L2")},
    "policy": {("keras", "DTypePolicy")},
}
"""Role -> (module, class) of allowed objects."""

_BESIDE = {"module", "class_name", "config", "registered_name", "build_config"}
_BESIDE_LAYER = {"name", "inbound_nodes", "compile_config"}
_BESIDE_OTHERS = {"shared_object_id"}
"""Written by Keras on saving; has no effect on loading."""


def checked_config(content: bytes) -> dict[str, Any]:
    """The configuration of an uncompiled model, safe to pass to Keras. Raises ForeignConfigError."""
    if len(content) > MAX_CONFIG_BYTES:
        raise ForeignConfigError(f"has {len(content):,} bytes; expected at most {MAX_CONFIG_BYTES:,}")
    try:
        config = json.loads(content)
        if not isinstance(config, dict):
            raise ForeignConfigError("is not a model")
        config = {**config, "compile_config": None}  # not needed for prediction
        _Checker().model(config, "", depth=1)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ForeignConfigError):
            raise
        raise ForeignConfigError(f"is not JSON: {error}") from error
    return config


class _Checker:
    """Walks one configuration and counts its layers."""

    def __init__(self) -> None:
        self._layers = 0

    def model(self, tree: Mapping[str, Any], where: str, *, depth: int) -> None:
        config = self._made(tree, "layer", where)
        if (tree.get("module"), tree["class_name"]) not in _MODELS:
            raise ForeignConfigError(f"{where or 'the top level'} is not a model but {tree['class_name']!r}")
        if depth > _MAX_DEPTH:
            raise ForeignConfigError(f"{where}: models nested more than {_MAX_DEPTH} deep")
        known: set[str] = set()
        for number, layer in enumerate(sequence(config.get("layers"), f"{where}.layers")):
            self._layers += 1
            if self._layers > _MAX_LAYERS:
                raise ForeignConfigError(f"more than {_MAX_LAYERS:,} layers")
            known.add(self._layer(layer, f"{where}.layers[{number}]", known, depth=depth))
        for key in config.keys() - {"layers"}:
            self._setting(key, config[key], f"{where}.{key}")

    def _layer(self, tree: object, where: str, known: set[str], *, depth: int) -> str:
        """Checks a layer and returns the name by which later layers refer to it."""
        if not isinstance(tree, dict):
            raise ForeignConfigError(f"{where}: expected a layer, found {shown(tree)}")
        config = self._made(tree, "layer", where)
        nodes = sequence(tree.get("inbound_nodes", []), f"{where}.inbound_nodes")
        if len(nodes) > 1:
            raise ForeignConfigError(f"{where}: is used {len(nodes)} times; expected once")
        for node in nodes:
            self._node(node, f"{where}.inbound_nodes", known)
        if (tree["module"], tree["class_name"]) in _MODELS:
            self.model(tree, where, depth=depth + 1)
        elif (tree["module"], tree["class_name"]) in _HUB:
            self._hub_backbone(tree["class_name"], config, where)
        else:
            for key, value in config.items():
                self._setting(key, value, f"{where}.{key}")
        name = tree.get("name", config.get("name"))
        check_name(name, f"{where}.name")
        return str(name)

    def _hub_backbone(self, class_name: str, config: Mapping[str, Any], where: str) -> None:
        """Checks that a backbone of KerasHub is one that is trained here, and that KerasHub is there."""
        own = dict(config)
        for key in ("name", "trainable", "dtype"):
            self._setting(key, own.pop(key, None), f"{where}.{key}")
        shapes = [own.pop(key, None) for key in ("image_shape", "position_embedding_shape")]
        check_photo_shape(shapes[0], f"{where}.image_shape")
        rows = (row for row in HUB_ROWS.values() if row.class_name == class_name)
        if shapes[1] not in (None, shapes[0]) or not any(row.settings == own for row in rows):
            raise ForeignConfigError(f"{where}: no {class_name} that carsearch trains")
        if find_spec("keras_hub") is None:
            raise MissingLibraryError(f"it contains a {class_name} of KerasHub, which is not installed: {HUB_INSTALL}")

    def _made(self, tree: Mapping[str, Any], place: str, where: str) -> Mapping[str, Any]:
        """Checks an object's class and surrounding keys, and returns its settings."""
        module, name = tree.get("module"), tree.get("class_name")
        if not (isinstance(module, str) and isinstance(name, str) and (module, name) in _KINDS[place]):
            made = f"{shown(name)} of {shown(module)}"
            raise ForeignConfigError(f"{where or 'the top level'}: {made} is not a supported {place}")
        for key in tree.keys() - _BESIDE - (_BESIDE_LAYER if place == "layer" else _BESIDE_OTHERS):
            raise ForeignConfigError(f"{where}: {shown(key)} is not a supported key")
        if tree.get("registered_name") not in (None, name, f"keras_hub>{name}") or tree.get("compile_config"):
            raise ForeignConfigError(f"{where}: is compiled, or registered under another name")
        _build_shapes(tree.get("build_config"), f"{where}.build_config")
        config = tree.get("config")
        if not isinstance(config, dict):
            raise ForeignConfigError(f"{where}: expected settings, found {shown(config)}")
        return config

    def _setting(self, key: str, value: object, where: str) -> None:
        check = SETTINGS.get(key)
        if check is not None:
            check(value, where)
        elif key == "dtype" and isinstance(value, dict):
            for inner, held in self._made(value, "policy", where).items():
                check_choice(held, "policy" if inner == "name" else inner, f"{where}.{inner}")
        elif key.endswith(("_initializer", "_regularizer")):
            if value is not None:
                place = key.rpartition("_")[2]
                for inner, held in self._made(mapping(value, where), place, where).items():
                    self._setting(inner, held, f"{where}.{inner}")
        elif key.endswith("_constraint"):
            check_null(value, where)
        elif key == "padding" and isinstance(value, list):
            check_sides(value, where)
        else:
            check_choice(value, key, where)

    def _node(self, node: object, where: str, known: set[str]) -> None:
        """Checks the arguments of a layer: tensors of earlier layers, numbers, and small constants."""
        held = mapping(node, where)
        if held.keys() - {"args", "kwargs"}:
            raise ForeignConfigError(f"{where}: expected only args and kwargs")
        for name, value in mapping(held.get("kwargs", {}), where).items():
            if value is not None and not isinstance(value, bool):
                raise ForeignConfigError(f"{where}: {shown(name)} is {shown(value)}")
        self._argument(sequence(held.get("args"), where), where, known)

    def _argument(self, value: object, where: str, known: set[str]) -> None:
        if isinstance(value, list):
            for one in value:
                self._argument(one, where, known)
        elif isinstance(value, dict) and set(value) == {"images"}:  # the one input that DINOv2 names
            self._argument(value["images"], where, known)
        elif isinstance(value, dict):
            config = mapping(value.get("config"), where)
            if value.keys() != {"class_name", "config"}:
                raise ForeignConfigError(f"{where}: {shown(value.get('class_name'))} is not an argument of a layer")
            if value["class_name"] == "__keras_tensor__":
                _tensor(config, where, known)
            elif value["class_name"] == "__numpy__":
                check_choice(config.get("dtype"), "dtype", where)
                check_numbers(config.get("value"), where)
            else:
                raise ForeignConfigError(f"{where}: {shown(value['class_name'])} is not an argument of a layer")
        else:
            check_number(value, where)


def _tensor(config: Mapping[str, Any], where: str, known: set[str]) -> None:
    if config.keys() != {"shape", "dtype", "keras_history"}:
        raise ForeignConfigError(f"{where}: not a tensor of a layer")
    check_shape(config["shape"], where)
    check_choice(config["dtype"], "dtype", where)
    history = config["keras_history"]
    is_output = isinstance(history, list) and len(history) == 3 and history[1:] == [0, 0]
    if not (is_output and isinstance(history[0], str) and history[0] in known):
        raise ForeignConfigError(f"{where}: {shown(history)} is not an output of an earlier layer")


def _build_shapes(value: object, where: str) -> None:
    """Checks the shapes for which Keras builds a layer: {"input_shape": shape}, one per input, or one per name."""
    if isinstance(value, dict):
        for one in value.values():
            _build_shapes(one, where)
    elif isinstance(value, list) and any(isinstance(one, list) for one in value):
        for one in value:
            _build_shapes(one, where)
    else:
        check_shape(value, where)
