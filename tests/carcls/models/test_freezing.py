"""Blocks and trainable flags, held against the graph as Keras serialises it, not as the code walks it."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.catalog import BACKBONES
from carcls.config import HeadConfig, StageConfig, TrainConfig
from carcls.models.backbones import build_backbone
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.freezing import (
    Block,
    blocks,
    count_trainable,
    cuts,
    merge_weightless,
    set_trainable,
    trainable_blocks,
)

FAMILIES = ("MobileNet", "MobileNetV2", "Xception", "InceptionV3", "EfficientNetB0")
HEAVY = tuple(f"EfficientNetB{number}" for number in range(1, 8))
BLOCK_COUNTS = {
    "MobileNet": 14,  # the stem and 13 separable convolutions
    "MobileNetV2": 19,  # the stem, 17 inverted residuals, the last convolution
    "Xception": 14,
    "InceptionV3": 13,  # two stem stretches and 11 mixed blocks
    # EfficientNet: the stem, the MBConv blocks, the top
    "EfficientNetB0": 18,
    "EfficientNetB1": 25,
    "EfficientNetB2": 25,
    "EfficientNetB3": 28,
    "EfficientNetB4": 34,
    "EfficientNetB5": 41,
    "EfficientNetB6": 47,
    "EfficientNetB7": 57,
}


def small_backbone(name: str) -> keras.Model:
    return build_backbone(name, BACKBONES[name].alphas[0], BACKBONES[name].min_size_px)


def edges(model: keras.Model) -> list[tuple[str, str]]:
    """(from, to) pairs of layer names, read from the model's public configuration."""
    pairs = []

    def visit(value, to):
        if isinstance(value, dict) and "keras_history" in value.get("config", {}):
            pairs.append((value["config"]["keras_history"][0], to))
        elif isinstance(value, dict):
            for child in value.values():
                visit(child, to)
        elif isinstance(value, list | tuple):
            for child in value:
                visit(child, to)

    for layer in model.get_config()["layers"]:
        visit(layer["inbound_nodes"], layer["name"])
    return pairs


def small_classifier(name: str, *, alpha: float = 1.0, units: int = 0) -> Classifier:
    config = TrainConfig(
        backbone=name,
        alpha=alpha,
        weights="none",
        image_size=BACKBONES[name].min_size_px,
        batch_size=4,
        head=HeadConfig(units=units),
        stages=(StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),),
    )
    return build_classifier(config, size_px=config.image_size, class_count=3, weights=None)


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY)])
def test_blocks_partition_the_layers_and_are_joined_by_single_tensors(name):
    backbone = small_backbone(name)
    parts = blocks(name, backbone)
    assert len(parts) == BLOCK_COUNTS[name]
    listed = [layer for block in parts for layer in block.layers]
    assert sorted(listed) == sorted(layer.name for layer in backbone.layers)
    owner = {layer: number for number, block in enumerate(parts) for layer in block.layers}
    leaving: dict[int, set[str]] = {}
    for source, target in edges(backbone):
        assert 0 <= owner[target] - owner[source] <= 1, f"{source} -> {target} jumps over a block or goes back"
        if owner[target] != owner[source]:
            leaving.setdefault(owner[source], set()).add(source)
    assert leaving == {number: {block.name} for number, block in enumerate(parts[:-1])}
    for block in parts:
        assert any(backbone.get_layer(layer).weights for layer in block.layers), f"{block.name} has no weights"


@pytest.mark.parametrize("name", FAMILIES)
def test_no_trainable_layer_feeds_a_frozen_one(name):
    classifier = small_classifier(name)
    backbone = classifier.backbone
    graph = edges(backbone)
    seen = []
    for fraction in (0.0, 0.01, 0.3, 0.5, 0.75, 0.99, 1.0):
        set_trainable(classifier, fraction, batch_norm=True)
        trainable = {layer.name for layer in backbone.layers if layer.trainable}
        reached = set(trainable)
        for source, target in graph:  # in topological order, so one pass carries the mark to the output
            if source in reached:
                reached.add(target)
        frozen = {layer.name for layer in backbone.layers if layer.weights and not layer.trainable}
        assert reached.isdisjoint(frozen), f"at {fraction}: {sorted(reached & frozen)}"
        seen.append(count_trainable(classifier.model))
    assert seen == sorted(seen)
    assert seen[0] < seen[1], "above 0 at least one block trains"
    set_trainable(classifier, 1.0, batch_norm=True)
    assert all(layer.trainable for layer in backbone.layers)


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 60))
def test_trainable_blocks_is_monotone_and_within_bounds(one, other, count):
    low, high = sorted((one, other))
    assert 0 <= trainable_blocks(low, count) <= trainable_blocks(high, count) <= count
    assert (trainable_blocks(high, count) == 0) == (high == 0.0)


@pytest.mark.parametrize(
    ("fraction", "count", "expected"),
    [(0.0, 14, 0), (1e-9, 14, 1), (0.5, 14, 7), (0.5, 13, 7), (0.75, 19, 14), (1.0, 19, 19), (1.0, 1, 1)],
)
def test_trainable_blocks_values(fraction, count, expected):
    assert trainable_blocks(fraction, count) == expected


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(ValueError, match="outside"):
        trainable_blocks(fraction, 10)


def test_cuts_of_a_residual_graph():
    # a -> b -> d, a -> c -> d, d -> e -> f with d -> f skipping e
    parents = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("d",), "f": ("e", "d")}
    assert cuts(parents, "f") == ["a", "d", "f"]


def test_cuts_ignore_vertices_beside_the_way_to_the_output():
    parents = {"a": (), "b": ("a",), "side": ("a",), "c": ("b",)}
    assert cuts(parents, "c") == ["a", "b", "c"]


def test_weightless_blocks_join_the_one_before_and_at_the_start_the_one_after():
    parts = [
        Block("in", ("in",)),
        Block("a", ("a",)),
        Block("pool", ("pool",)),
        Block("b", ("b",)),
        Block("out", ("out",)),
    ]
    assert merge_weightless(parts, {"a", "b"}) == (Block("pool", ("in", "a", "pool")), Block("out", ("b", "out")))


def test_head_trains_alone_at_zero():
    classifier = small_classifier("MobileNet", alpha=0.25, units=8)
    set_trainable(classifier, 0.0, batch_norm=False)
    assert {variable.path.split("/")[0] for variable in classifier.model.trainable_variables} == {
        "head_batch_norm",
        "head_dense",
        "head_logits",
    }
    assert count_trainable(classifier.model) == 2 * 256 + (256 * 8 + 8) + (8 * 3 + 3)


def fit_two_steps(classifier: Classifier) -> None:
    rng = np.random.default_rng(0)
    size = classifier.model.input_shape[1]
    photos = rng.integers(0, 256, (8, size, size, 3), dtype=np.uint8)
    truths = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 8)]
    classifier.model.compile(keras.optimizers.Adam(1e-2), "categorical_crossentropy")
    classifier.model.fit(photos, truths, batch_size=4, epochs=1, verbose=0)


def values(layers: list) -> dict[str, np.ndarray]:
    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for layer in layers for weight in layer.weights}


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_pretrained_batch_norm_and_frozen_blocks_are_bit_equal_after_training(fraction):
    classifier = small_classifier("MobileNet", alpha=0.25)
    set_trainable(classifier, fraction, batch_norm=False)
    layers = classifier.backbone.layers
    for layer in layers:
        if layer.name.endswith(tuple("0123456789")) and layer.weights:  # a convolution
            layer.set_weights([weight * 3 for weight in layer.get_weights()])  # else signals die out without BatchNorm
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    still = norms + [layer for layer in layers if not layer.trainable]
    moving = [layer for layer in layers if layer.trainable and layer.weights]
    before, moving_before = values(still), values(moving)
    fit_two_steps(classifier)
    for path, value in values(still).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    assert any(not np.array_equal(value, moving_before[path]) for path, value in values(moving).items())
    head = classifier.model.get_layer("head_batch_norm")
    assert np.any(keras.ops.convert_to_numpy(head.moving_mean) != 0), "the head's own BatchNorm learns"


def test_batch_norm_of_random_weights_trains_in_trainable_blocks_only():
    classifier = small_classifier("MobileNet", alpha=0.25)
    set_trainable(classifier, 0.5, batch_norm=True)
    norms = [layer for layer in classifier.backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    frozen, trainable = values([n for n in norms if not n.trainable]), values([n for n in norms if n.trainable])
    assert frozen
    assert trainable
    fit_two_steps(classifier)
    after = values(norms)
    assert all(np.array_equal(after[path], frozen[path]) for path in frozen)
    assert all(not np.array_equal(after[path], trainable[path]) for path in trainable)
