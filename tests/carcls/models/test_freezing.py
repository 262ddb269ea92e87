"""Cuts and cell ends of hand-made graphs, and the effect of freezing on training. test_every_row has real graphs."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carcls.catalog import BACKBONES
from carcls.config import HeadConfig, StageConfig, TrainConfig
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.freezing import (
    Block,
    cell_ends,
    cuts,
    merge_weightless,
    only_cuts,
    set_trainable,
    trainable_blocks,
)


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


def test_only_cuts_become_ends():
    parents = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("d",)}
    assert only_cuts(parents, ["b", "d", "e"], "e") == ["d", "e"]


def test_cells_end_where_only_outputs_of_cells_go_on():
    # cells 1 and 2 and the output; x1 and x2 skip one cell each, and h2 is within cell 2
    parents = {
        "in": (),
        "h1": ("in",),
        "x1": ("h1", "in"),
        "h2": ("x1",),
        "g2": ("h2", "in"),
        "x2": ("h2", "g2"),
        "h3": ("x1", "x2"),
        "x3": ("h3", "x2"),
    }
    assert cell_ends(parents, ["in", "x1", "x2", "x3"]) == ["in", "x1", "x2", "x3"]
    assert cell_ends(parents, ["in", "x1", "g2", "x2", "x3"]) == ["in", "x1", "x2", "x3"]
    assert cell_ends(parents, ["in", "x2", "x3"]) == ["in", "x3"], "x1 would leave from within the block of x2"
    assert cell_ends(parents, ["x3"]) == ["x3"]


def test_weightless_blocks_merge_into_the_previous_or_at_the_start_the_next():
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
    count = sum(math.prod(one.shape) for one in classifier.model.trainable_variables)
    assert count == 2 * 256 + (256 * 8 + 8) + (8 * 3 + 3)


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
            layer.set_weights([weight * 3 for weight in layer.get_weights()])  # keeps signals alive without BatchNorm
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
