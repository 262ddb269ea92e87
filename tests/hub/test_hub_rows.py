"""Each kind of row: what KerasHub builds, its blocks, a step of training, and its exported model."""

import gc
import json
import zipfile
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from carcls.catalog import HUB_BACKBONES
from carcls.config import StageConfig, TrainConfig
from carcls.inference.export import export_model, load_model
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.freezing import blocks, depths_below_head, freezable_layers, set_trainable, trainable_blocks
from carcls.models.hub_rows import HUB_ROWS
from carcls.models.layer_shapes import layer_shapes

pytestmark = [pytest.mark.slow, pytest.mark.release]

KINDS = ("ViTTiny16", "DINOv2Small", "DINOv2RegSmall", "SwinTiny")
NEVER_TRAIN = {"embeddings/mask_token", "embeddings/position_embeddings", "embeddings/interpolated_position_embeddings"}


def config_of(name: str, size_px: int | tuple[int, int]) -> TrainConfig:
    stage = StageConfig(name="half", unfreeze=0.5, epochs=1, learning_rate=1e-3)
    return TrainConfig(
        backbone=name, weights="none", image_size=size_px, batch_size=2, precision="float32", stages=(stage,)
    )


@pytest.fixture(scope="module", params=KINDS)
def classifier(request) -> Iterator[Classifier]:
    """At its smallest size."""
    size_px = HUB_BACKBONES[request.param].min_size_px
    config = config_of(request.param, size_px)
    yield build_classifier(config, size_px=size_px, class_count=3, weights=None)
    gc.collect()


def test_the_row_is_all_that_the_backbone_was_made_of(classifier):
    made = json.loads(json.dumps(classifier.backbone.get_config()))
    apart = {key: made.pop(key, None) for key in ("name", "trainable", "dtype", "image_shape")}
    made.pop("position_embedding_shape", None)
    row = HUB_ROWS[classifier.backbone_name]
    assert made == row.settings
    assert (type(classifier.backbone).__module__, type(classifier.backbone).__name__) == (row.module, row.class_name)
    assert apart["image_shape"][:2] == [HUB_BACKBONES[row.name].min_size_px] * 2


def test_blocks_have_every_weight_once_and_the_catalogs_number(classifier):
    name, backbone = classifier.backbone_name, classifier.backbone
    assert len(blocks(name, backbone)) == HUB_BACKBONES[name].block_count
    held = [id(weight) for layer in freezable_layers(name, backbone).values() for weight in layer.weights]
    assert sorted(held) == sorted(id(weight) for weight in backbone.weights)
    in_blocks = [layer for block in blocks(name, backbone) for layer in block.layers]
    assert in_blocks == list(freezable_layers(name, backbone))


def test_features_are_a_map_of_the_patches(classifier):
    row = HUB_ROWS[classifier.backbone_name]
    side = HUB_BACKBONES[row.name].min_size_px // row.reduction_px
    width = row.settings.get("hidden_dim") or row.settings["embed_dim"] * 8
    assert classifier.model.get_layer("head_pool").input.shape == (None, side, side, width)
    assert layer_shapes(classifier, folded=True)[-1].name == "head_softmax"  # the memory's prediction can read it


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_a_step_changes_the_top_blocks_and_no_other(classifier, rng, fraction):
    name, backbone, size_px = classifier.backbone_name, classifier.backbone, classifier.model.input_shape[1]
    set_trainable(classifier, fraction, batch_norm=False)
    classifier.model.compile(optimizer=keras.optimizers.SGD(1.0), loss="categorical_crossentropy")
    before = {weight.path: np.array(weight) for weight in backbone.weights}
    photos = rng.integers(0, 256, (4, size_px, size_px, 3), dtype=np.uint8)
    classifier.model.train_on_batch(photos, np.eye(3, dtype=np.float32)[[0, 1, 2, 0]])
    changed = {path for path, values in before.items() if not np.array_equal(values, _weight(backbone, path))}
    count = len(blocks(name, backbone))
    top = blocks(name, backbone)[count - trainable_blocks(fraction, count) :] if fraction else ()
    layers = freezable_layers(name, backbone)
    trained = {weight.path for block in top for layer in block.layers for weight in layers[layer].weights}
    assert changed <= trained
    # Queries and keys of random weights have gradients that rounding can swallow, so not every weight must change.
    for block in top:
        assert changed & {weight.path for layer in block.layers for weight in layers[layer].weights}, block.name
    assert {weight.path for weight in classifier.model.trainable_weights if "head" not in weight.path} == (
        trained - NEVER_TRAIN
    )


def _weight(backbone: keras.Model, path: str) -> np.ndarray:
    return np.array(next(weight for weight in backbone.weights if weight.path == path))


def test_rates_fall_block_by_block_towards_the_input(classifier):
    name, backbone = classifier.backbone_name, classifier.backbone
    depths, layers = depths_below_head(classifier), freezable_layers(name, backbone)
    by_block = [
        {depths[id(weight)] for layer in block.layers for weight in layers[layer].weights}
        for block in blocks(name, backbone)
    ]
    assert by_block == [{depth} for depth in range(HUB_BACKBONES[name].block_count, 0, -1)]


def test_an_exported_model_predicts_the_same_and_says_what_it_needs(classifier, rng, tmp_path):
    size_px = classifier.model.input_shape[1]
    config = config_of(classifier.backbone_name, size_px)
    path = tmp_path / "model.keras"
    names = ("a", "b", "c")
    export_model(path, classifier, class_names=names, config=config, size_px=size_px, tta_views=("plain",))
    loaded = load_model(path)
    photos = rng.integers(0, 256, (2, size_px, size_px, 3), dtype=np.uint8)
    expected = classifier.model.predict_on_batch(photos)
    np.testing.assert_array_equal(loaded.model.predict_on_batch(photos), expected)
    plain = keras.saving.load_model(path, safe_mode=True)
    np.testing.assert_array_equal(plain.predict_on_batch(photos), expected)
    assert loaded.card.requires[0].startswith("keras-hub==")
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("carsearch.json"))["requires"] == list(loaded.card.requires)


@pytest.mark.parametrize(
    ("name", "size"), [("ViTTiny16", (48, 64)), ("SwinTiny", (224, 256)), ("DINOv2Small", (70, 70))]
)
def test_other_sizes_and_rectangles(name, size, rng):
    config = config_of(name, size)
    classifier = build_classifier(config, size_px=config.stage_size(0), class_count=3, weights=None)
    side = HUB_ROWS[name].reduction_px
    assert classifier.model.get_layer("head_pool").input.shape[1:3] == (size[0] // side, size[1] // side)
    found = classifier.model.predict_on_batch(rng.integers(0, 256, (2, *size, 3), dtype=np.uint8))
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
