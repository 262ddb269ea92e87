"""Builds every row of the backbone table and checks the catalog, the blocks in the graph, and a training step.

Graphs are read from the model's public configuration, unlike in the code. Fast rows always run, CI has a row of each
family but the deepest, and `make release-check` has all.
"""

import gc
import math
import re
from collections.abc import Iterator, Sequence
from functools import cache

import keras
import numpy as np
import pytest

from carcls.catalog import BACKBONES
from carcls.config import StageConfig, TrainConfig
from carcls.models.backbone_rows import ROWS
from carcls.models.backbones import build_backbone
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.folding import fold_batch_norm
from carcls.models.freezing import Block, blocks, cell_ends, layer_parents, set_trainable

QUICK = (
    "VGG16",
    "ResNet50",
    "InceptionV3",
    "Xception",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "EfficientNetB0",
    "ConvNeXtTiny",
)
FAMILIES = (*QUICK, "ResNet50V2", "DenseNet121", "NASNetMobile", "EfficientNetV2B0")
"""A row of each builder module but the deepest, InceptionResNetV2. The others differ from theirs in depth and width
only, and take CI minutes."""
FRACTIONS = (0.0, 0.5, 0.75, 1.0)


def classifier_at(name: str, size_px: int) -> Classifier:
    config = TrainConfig(
        backbone=name,
        weights="none",
        image_size=size_px,
        batch_size=2,
        precision="float32",
        stages=(StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),),
    )
    return build_classifier(config, size_px=size_px, class_count=3, weights=None)


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    if name in QUICK:
        return []
    return [pytest.mark.slow, *([] if name in FAMILIES else [pytest.mark.release])]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=marks_of(name)) for name in BACKBONES],
)
def classifier(request) -> Iterator[Classifier]:
    """The row's backbone at its smallest size. pytest runs all tests of one row before it builds the next."""
    yield classifier_at(request.param, BACKBONES[request.param].min_size_px)
    gc.collect()  # models contain reference cycles, and the largest take gigabytes


def edges(model: keras.Model) -> list[tuple[str, str]]:
    """(from, to) pairs of names of layers and operations, in topological order of `to`."""
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


def faults(graph: Sequence[tuple[str, str]], parts: Sequence[Block], *, cells: bool) -> list[str]:
    """Problems of blocks: a tensor that leaves a block but is not its output means a split branch or cell.

    Without cells, the output goes only to the next block, so a boundary is one tensor wide and no shortcut bypasses a
    split branch.
    """
    owner = {name: number for number, block in enumerate(parts) for name in block.layers}
    found = []
    for source, target in graph:
        jump = owner[target] - owner[source]
        if jump < 0:
            found.append(f"{source} -> {target} goes back")
        if jump > 0 and source != parts[owner[source]].name:
            found.append(f"{source} leaves from within {parts[owner[source]].name}")
        if jump > 1 and not cells:
            found.append(f"{source} -> {target} jumps over a block")
    return found + ([] if not cells else split_cells(owner))


def split_cells(owner: dict[str, int]) -> list[str]:
    """NASNet names most layers of a cell by the cell's id. Each id must be in exactly one block and alone in it.

    Ids are `stem_1`, `reduce_4` and numbers.
    """
    blocks_of: dict[str, set[int]] = {}
    for name, number in owner.items():
        match = re.fullmatch(
            r"(?:separable_conv|normal|reduction|adjust)_\w*?(?<!stem)(?<!reduce)_(stem_\d|reduce_\d+|\d+)", name
        )
        if match:
            blocks_of.setdefault(match[1], set()).add(number)
    found = [f"cell {cell} is split over blocks {numbers}" for cell, numbers in blocks_of.items() if len(numbers) > 1]
    if len(set.union(*blocks_of.values())) < len(blocks_of):
        found.append(f"several of the cells {sorted(blocks_of)} share a block")
    return found


def test_the_catalog_has_weights_and_batch_norm(classifier):
    info, backbone = BACKBONES[classifier.backbone_name], classifier.backbone
    assert backbone.input_shape == (None, info.min_size_px, info.min_size_px, 3)
    assert len(backbone.output_shape) == 4
    assert 1 <= backbone.output_shape[1] <= 3
    assert backbone.count_params() == info.weight_counts[info.alphas.index(1.0)]
    kinds = {type(layer) for layer in backbone._flatten_layers()}
    assert (keras.layers.BatchNormalization in kinds) == info.batch_norm


def test_blocks_hold_every_layer_once_and_are_joined_by_their_outputs_alone(classifier):
    name, backbone = classifier.backbone_name, classifier.backbone
    parts = blocks(name, backbone)
    assert len(parts) == BACKBONES[name].block_count
    listed = [layer for block in parts for layer in block.layers]
    assert sorted(listed) == sorted(layer["name"] for layer in backbone.get_config()["layers"])
    assert faults(edges(backbone), parts, cells=ROWS[name].cells) == []
    assert parts[-1].name == backbone.output._keras_history.operation.name
    for block in parts:
        held = [backbone.get_layer(layer) for layer in block.layers if layer in {each.name for each in backbone.layers}]
        kernels = [w for layer in held for w in layer.weights if w.path.endswith("kernel")]
        assert kernels, f"{block.name} has nothing but normalisation to train"


def test_no_trainable_layer_feeds_a_frozen_one(classifier):
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
        seen.append(sum(math.prod(one.shape) for one in classifier.model.trainable_variables))
    assert seen == sorted(seen)
    assert seen[0] < seen[1], "above 0 at least one block trains"
    assert seen[-1] == sum(
        int(np.prod(weight.shape))
        for weight in classifier.model.weights
        if not re.search(r"moving_(mean|variance)|seed_generator|normalization\w*/(mean|variance|count)", weight.path)
    )


def step(classifier: Classifier, size_px: int, **compiled) -> float:
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (2, size_px, size_px, 3), dtype=np.uint8)
    classifier.model.compile(keras.optimizers.SGD(1e-4), "categorical_crossentropy", **compiled)
    return float(classifier.model.train_on_batch(photos, np.eye(3, dtype=np.float32)[:2]))


@pytest.fixture
def as_it_was(classifier) -> Iterator[None]:
    """Restores the row's normalisation weights and its layers' `call` after each test."""
    layers = classifier.backbone.layers
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    kept = [(variable, np.array(variable)) for layer in norms for variable in layer.weights]
    yield
    for variable, value in kept:
        variable.assign(value)
    for layer in layers:
        layer.trainable = True
        if "call" in vars(layer):
            del layer.call


@pytest.mark.usefixtures("as_it_was")
def test_folded_normalisations_answer_as_they_did(classifier):
    rng, backbone = np.random.default_rng(0), classifier.backbone
    for layer in backbone.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        if not layer.trainable:
            for variable in layer.weights:  # close to initial values, since deep models overflow otherwise
                variable.assign(variable + rng.uniform(-0.2, 0.2, variable.shape))
    size_px = BACKBONES[classifier.backbone_name].min_size_px
    pixels = rng.uniform(0, 255, (1, size_px, size_px, 3)).astype("float32")
    before = np.asarray(backbone(pixels))
    # The effect of rounding the input: at this size the deepest row's outputs change completely.
    rounding = np.abs(np.asarray(backbone(pixels * (1 + 2**-20))) - before).max()

    fold_batch_norm(backbone)

    assert np.ptp(before) > 0
    tolerance = 4 * rounding + 1e-5 * np.abs(before).max()
    np.testing.assert_allclose(np.asarray(backbone(pixels)), before, rtol=0, atol=tolerance)


@pytest.mark.slow
def test_a_training_step_at_each_fraction_has_a_finite_loss(classifier):
    """Each case starts from the same weights. With one-pixel features, BatchNorm over two photos may blow up
    random weights (EfficientNetV2L), which would spoil the next step. Steps at native size also check the weights.
    """
    size_px = BACKBONES[classifier.backbone_name].min_size_px
    start = classifier.model.get_weights()
    for fraction in FRACTIONS:
        classifier.model.set_weights(start)
        set_trainable(classifier, fraction, batch_norm=True)
        loss = step(classifier, size_px, run_eagerly=True)
        assert 0 < loss < 100, f"at {fraction}"


@pytest.mark.parametrize("name", ["MobileNetV3Small", "VGG16"])
def test_a_training_step_of_small_rows(name):
    """The slow test above, for the fast rows."""
    test_a_training_step_at_each_fraction_has_a_finite_loss(classifier_at(name, 32))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAMILIES, pytest.param("InceptionResNetV2", marks=pytest.mark.release)])
def test_a_traced_training_step_at_native_size(name):
    info = BACKBONES[name]
    built = classifier_at(name, info.native_size_px)
    assert built.backbone.count_params() == info.weight_counts[info.alphas.index(1.0)], "the same weights at any size"
    set_trainable(built, 1.0, batch_norm=True)
    assert 0 < step(built, info.native_size_px) < 100
    for variable in built.model.variables:
        assert np.isfinite(keras.ops.convert_to_numpy(variable)).all(), variable.path
    gc.collect()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "alpha"), [(name, alpha) for name, info in BACKBONES.items() for alpha in info.alphas if alpha != 1.0]
)
def test_the_catalog_has_the_weights_of_every_width(name, alpha):
    info = BACKBONES[name]
    backbone = build_backbone(name, alpha, 32)
    assert backbone.count_params() == info.weight_counts[info.alphas.index(alpha)]
    assert len(blocks(name, backbone)) == info.block_count


@cache
def small_nasnet(*, skip_reduction: bool) -> keras.Model:
    """A NASNet with one normal cell between reductions. In NASNetLarge, and optionally here, outputs skip two."""
    from keras.src.applications.nasnet import NASNet

    return NASNet(
        input_shape=(32, 32, 3),
        penultimate_filters=96,
        num_blocks=1,
        stem_block_filters=8,
        skip_reduction=skip_reduction,
        filter_multiplier=2,
        include_top=False,
        weights=None,
    )


@pytest.mark.parametrize("skip_reduction", [False, True])
def test_cells_that_take_the_last_two_are_whole_blocks(skip_reduction):
    backbone = small_nasnet(skip_reduction=skip_reduction)
    parts = blocks("NASNetLarge", backbone)
    assert len(parts) == 1 + 2 + 1 + 1 + 1 + 1 + 1  # stem, its cells, and a normal cell before and after each reduction
    assert faults(edges(backbone), parts, cells=True) == []
    skips = edges(backbone)
    owner = {name: number for number, block in enumerate(parts) for name in block.layers}
    assert max(owner[target] - owner[source] for source, target in skips) == (3 if skip_reduction else 2)


def test_no_pattern_can_split_a_cell():
    backbone = small_nasnet(skip_reduction=True)
    parents = layer_parents(backbone)
    concats = [name for name in parents if "_concat_" in name]
    everything_from_first_cell = list(parents)[list(parents).index("stem_bn1") :]
    branches = [name for name in everything_from_first_cell if "add" in name.split("_") or name in concats]
    assert len(branches) > 4 * len(concats)
    assert cell_ends(parents, ["stem_bn1", *branches]) == ["stem_bn1", *concats]


def split_at(parts: Sequence[Block], name: str) -> list[Block]:
    """The blocks with the one that contains `name` split after it."""
    cut: list[Block] = []
    for block in parts:
        if name in block.layers:
            after = block.layers.index(name) + 1
            cut += [Block(name, block.layers[:after]), Block(block.name, block.layers[after:])]
        else:
            cut.append(block)
    return cut


@pytest.mark.parametrize("name", ["normal_add_1_2", "normal_conv_1_0", "reduction_add_1_stem_1", "adjust_relu_1_2"])
def test_the_check_notices_a_split_cell(name):
    backbone = small_nasnet(skip_reduction=False)
    assert name in {layer.name for layer in backbone.layers}
    parts = blocks("NASNetMobile", backbone)
    assert faults(edges(backbone), split_at(parts, name), cells=True) != []


@pytest.mark.parametrize("inner", ["block_2_expand", "block_2_depthwise_relu", "block_2_project_BN"])
def test_the_check_notices_a_split_residual_branch(inner):
    backbone = build_backbone("MobileNetV2", 0.35, 32)
    parts = blocks("MobileNetV2", backbone)
    assert faults(edges(backbone), split_at(parts, inner), cells=False) != []


def test_dense_layers_are_blocks_and_the_last_normalisation_joins_them():
    from keras.src.applications.densenet import DenseNet

    backbone = DenseNet([2, 2, 1, 1], include_top=False, weights=None, input_shape=(32, 32, 3))
    parts = blocks("DenseNet121", backbone)
    assert [block.name for block in parts] == [
        *("pool1", "conv2_block1_concat", "conv2_block2_concat", "pool2_pool"),
        *("conv3_block1_concat", "conv3_block2_concat", "pool3_pool"),
        *("conv4_block1_concat", "pool4_pool", "relu"),
    ]
    assert faults(edges(backbone), parts, cells=False) == []
