"""Combines backbone and head into one Keras model from pixels 0..255 to class probabilities."""

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras

# Keras can only reset its name counters together with everything else (clear_session), so we save them ourselves.
from keras.src.backend.common import global_state

from carcls.backend import devices
from carcls.catalog import KNOWN_BACKBONES
from carcls.config import HeadConfig, HeadLayer, TrainConfig
from carcls.errors import WeightsError
from carcls.frames import Size, frame_of
from carcls.models.backbones import build_backbone, features_of, scale_pixels
from carcls.models.weights import load_backbone_weights, resolve_weights

HEAD_POOL = "head_pool"
"""Name of the layer whose outputs are the pooled features."""
_HEAD_BN_MOMENTUM = 0.9
"""With Keras's 0.99 the initial statistics fade over hundreds of steps: a head trained for three epochs on 600 photos
would be validated with statistics that are still mostly (0, 1)."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model and the backbone inside it, which share variables."""

    model: keras.Model
    """Pixels 0..255 (b, height, width, 3), uint8 or float -> float32 softmax (b, classes)."""
    backbone: keras.Model
    """Scaled pixels -> features, before pooling."""
    backbone_name: str


def build_classifier(config: TrainConfig, *, size_px: Size, class_count: int, weights: Path | None) -> Classifier:
    """The classifier of a configuration, fully trainable and not compiled.

    `weights` fill the backbone (see `resolve_weights`), which is random if None. All randomness comes from
    `config.seed`: equal arguments give equal weights. Layer names, and thus variable paths, are the same in every
    process. Precision is `config.precision` on this machine's device; the softmax is always float32. Raises
    WeightsError.
    """
    with fresh_layer_names(), _seeded(config.seed), _precision(devices.dtype_policy(config.precision)):
        backbone = build_backbone(config.backbone, config.alpha, size_px)
        if weights is not None:
            _load(backbone, weights, config)
        # float32 until the backbone casts: half precision would lose steps of 1/127.5 near zero.
        inputs = keras.Input(frame_of(size_px).shape, dtype="float32", name="pixels")
        features = features_of(config.backbone, backbone, scale_pixels(config.backbone, inputs), size_px)
        outputs = _head(features, config.head, class_count=class_count, seed=config.seed)
        model = keras.Model(inputs, outputs, name="classifier")
    return Classifier(model, backbone, config.backbone)


def check_weights(config: TrainConfig) -> None:
    """Finds or downloads the configuration's weights and checks that they load. Raises WeightsError."""
    weights = resolve_weights(config)
    if weights is not None:
        with fresh_layer_names():
            backbone = build_backbone(config.backbone, config.alpha, KNOWN_BACKBONES[config.backbone].min_size_px)
        _load(backbone, weights, config)


def _load(backbone: keras.Model, weights: Path, config: TrainConfig) -> None:
    try:
        load_backbone_weights(backbone, weights, config.backbone)
    except WeightsError as error:
        width = f" with alpha {config.alpha}" if KNOWN_BACKBONES[config.backbone].has_alpha else ""
        raise WeightsError(f"{config.backbone}{width}: {error}") from error


def _head(features: keras.KerasTensor, head: HeadConfig, *, class_count: int, seed: int) -> keras.KerasTensor:
    """Features (b, h, w, d) -> pooling, [BatchNorm], [dense + ReLU], dropout, softmax (b, class_count).

    With `head.layers`, these are between pooling and softmax.
    """
    layers = keras.layers
    pooling = layers.GlobalAveragePooling2D if head.pooling == "avg" else layers.GlobalMaxPooling2D
    x = pooling(name=HEAD_POOL)(features)
    if head.layers is None:
        x = _usual_layers(x, head, seed)
    else:
        for number, layer in enumerate(head.layers):
            x = _own_layer(layer, f"head_{number}_{layer.kind}", seed + number)(x)
    logits = layers.Dense(class_count, kernel_regularizer=_penalty(head.l2), dtype="float32", name="head_logits")(x)
    return layers.Softmax(dtype="float32", name="head_softmax")(logits)


def _usual_layers(x: keras.KerasTensor, head: HeadConfig, seed: int) -> keras.KerasTensor:
    layers = keras.layers
    if head.batch_norm:
        x = layers.BatchNormalization(momentum=_HEAD_BN_MOMENTUM, name="head_batch_norm")(x)
    if head.units:
        x = layers.Dense(head.units, activation="relu", kernel_regularizer=_penalty(head.l2), name="head_dense")(x)
    return layers.Dropout(head.dropout, seed=seed, name="head_dropout")(x)


def _own_layer(layer: HeadLayer, name: str, seed: int) -> keras.Layer:
    layers = keras.layers
    match layer.kind:
        case "dense":
            return layers.Dense(layer.width, use_bias=layer.bias, kernel_regularizer=_penalty(layer.l2), name=name)
        case "batch_norm":
            return layers.BatchNormalization(momentum=_HEAD_BN_MOMENTUM, name=name)
        case "relu":
            return layers.ReLU(name=name)
        case "dropout":
            return layers.Dropout(layer.rate, seed=seed, name=name)


def _penalty(l2: float) -> keras.Regularizer | None:
    return keras.regularizers.L2(l2) if l2 else None


@contextmanager
def fresh_layer_names() -> Iterator[None]:
    """Within the block, automatic layer names (`conv2d_3`) count from zero, whatever the process built before."""
    outer = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", outer)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds Python's generator within the block, from which unseeded initialisers draw their seeds."""
    outer = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(outer)


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Layers built within the block get this dtype policy."""
    outer = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(outer)
