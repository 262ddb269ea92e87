"""DESIGN.md's rules, checked on the checkpoints of whole trainings."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.dataset.loading import load_dataset
from carcls.inference.tta import PLAIN, VIEWS, average, predict_view
from carcls.inference.view_choice import choose_views
from carcls.input.training_data import TrainingData
from carcls.models.backbones import build_backbone, scale_pixels
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.freezing import Block, blocks, set_trainable
from carcls.splits.split import Split, make_split
from carcls.store import Store
from carcls.training.checkpoint import load_state
from carcls.training.fine_tuning import fine_tune

STAGES = (
    {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 1e-2},
    {"name": "half", "unfreeze": 0.5, "epochs": 1, "learning_rate": 1e-2},
    {"name": "full", "unfreeze": 1.0, "epochs": 1, "learning_rate": 1e-2, "image_scale": 1.5},
)


@dataclass
class Trained:
    start: dict[str, NDArray]
    """Backbone weights before training, by checkpoint key."""
    stages: list[dict[str, NDArray]]
    """All variables after each stage."""
    val_log_losses: list[float]
    blocks: tuple[Block, ...]


def write_photo(path: Path, seed: int, width_px: int) -> None:
    """Stripes in noise."""
    rng = np.random.default_rng(seed)
    bright = ((np.arange(48) + rng.integers(48)) // width_px % 2)[None, :, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), (100 * bright + rng.integers(0, 155, (48, 48, 3))).astype(np.uint8))


def source(split: Split) -> TrainingData:
    return TrainingData(split, Store(split.train.root / "store"), view_seed=0)


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> tuple[Split, Split]:
    """Two splits with the same training photos and entirely different validation photos."""
    root: Path = tmp_path_factory.mktemp("stripes")
    places = {f"{number}.png": str(number % 3) for number in range(18)}
    for number, (name, category) in enumerate(places.items()):
        write_photo(root / "train" / category / name, number, 2 ** (1 + number % 3))
    (root / "train.csv").write_text("Id,Category\n" + "".join(f"{n},{c}\n" for n, c in places.items()))
    first = make_split(load_dataset(root, processes=1), fraction=0.3, seed=0)
    for size_px in (32, 48):  # into the store, before the photos change
        source(first).pixels("validation", size_px)
    for number, path in enumerate(first.validation.paths):
        write_photo(root / path, 1_000 + number, 16)
    again = load_dataset(root, processes=1).train
    held_out = [again.ids.index(photo) for photo in first.validation.ids]
    return first, Split(first.class_names, first.train, again.select(held_out))


@pytest.fixture(scope="module")
def weights(splits, tmp_path_factory) -> Path:
    """Random weights with BatchNorm statistics of the photos; without these, gradients vanish over 27 layers."""
    keras.utils.set_random_seed(0)
    backbone = build_backbone("MobileNet", 0.25, 32)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    backbone(scale_pixels("MobileNet", source(splits[0]).pixels("train", 32).astype("float32")), training=True)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    backbone.save_weights(path)
    return path


def train(split: Split, weights: Path, folder: Path) -> Trained:
    config = TrainConfig.model_validate(
        {
            "backbone": "MobileNet",
            "alpha": 0.25,
            "weights": str(weights),
            "image_size": 32,
            "batch_size": 6,
            "augment": {"policy": "light"},
            "stages": STAGES,
        }
    )
    reports = []
    fine_tune(config, source(split), reports.append, folder=folder)
    backbone = build_classifier(config, size_px=32, class_count=3, weights=weights).backbone
    start = {f"model/{weight.path}": keras.ops.convert_to_numpy(weight) for weight in backbone.weights}
    return Trained(
        start=start,
        # A checkpoint leaves out a backbone that is as it was at the start.
        stages=[start | load_state(folder / report.checkpoint)[0] for report in reports],
        val_log_losses=[report.val_log_loss for report in reports],
        blocks=blocks("MobileNet", backbone),
    )


@pytest.fixture(scope="module")
def trained(splits, weights, tmp_path_factory) -> Trained:
    devices.configure(threads=None, deterministic=True, gpu_memory_share=None)
    return train(splits[0], weights, tmp_path_factory.mktemp("trained"))


def test_no_validation_photo_reaches_any_weight_at_any_stage(splits, weights, trained, tmp_path):
    """Other validation photos give other scores, but bit-equal weights, moments and seeds."""
    assert splits[0].train == splits[1].train
    assert not set(splits[0].validation.digests) & set(splits[1].validation.digests)
    other = train(splits[1], weights, tmp_path)
    for log_loss, other_log_loss in zip(trained.val_log_losses, other.val_log_losses, strict=True):
        assert log_loss != other_log_loss
    for number, (state, other_state) in enumerate(zip(trained.stages, other.stages, strict=True)):
        assert state.keys() == other_state.keys()
        for key, array in state.items():
            np.testing.assert_array_equal(array, other_state[key], err_msg=f"stage {number}: {key}")


def test_batch_norm_of_the_backbone_is_bit_equal_through_all_stages(trained):
    norms = {key for key in trained.start if "_bn/" in key}
    assert len(norms) == 27 * 4  # scale, shift, mean, variance
    for state in trained.stages:
        for key in norms:
            np.testing.assert_array_equal(state[key], trained.start[key], err_msg=key)
    means = [state["model/head_batch_norm/moving_mean"] for state in trained.stages]
    assert not np.array_equal(means[0], means[1]), "the head's own BatchNorm learns"
    assert not np.array_equal(means[1], means[2])


def test_stages_train_whole_blocks_from_the_top_and_never_fewer(trained):
    states = [trained.start, *trained.stages]
    moved = []
    for before, after in pairwise(states):
        block_moved = []
        for block in trained.blocks:
            keys = [key for key in trained.start if key.split("/")[1] in block.layers and "_bn/" not in key]
            changed = {not np.array_equal(before[key], after[key]) for key in keys}
            assert len(changed) == 1, f"{block.name} is half frozen"
            block_moved.append(changed.pop())
        moved.append(block_moved)
    assert moved == [[False] * 14, [False] * 7 + [True] * 7, [True] * 14]


@pytest.fixture(scope="module")
def inverted_residuals() -> tuple[Classifier, tuple[Block, ...]]:
    values = {"backbone": "MobileNetV2", "alpha": 0.35, "weights": "none", "image_size": 32, "batch_size": 2}
    config = TrainConfig.model_validate(values | {"stages": STAGES})
    classifier = build_classifier(config, size_px=32, class_count=2, weights=None)
    return classifier, blocks("MobileNetV2", classifier.backbone)


@settings(max_examples=25, deadline=None)
@given(fractions=st.tuples(st.floats(0, 1), st.floats(0, 1)), batch_norm=st.booleans())
def test_a_larger_fraction_trains_all_that_a_smaller_one_does(inverted_residuals, fractions, batch_norm):
    classifier, parts = inverted_residuals
    trainable = []
    for fraction in fractions:
        set_trainable(classifier, fraction, batch_norm=batch_norm)
        variables = {variable.path for variable in classifier.backbone.trainable_variables}
        for block in parts:
            kernels = {
                variable.path in variables
                for name in block.layers
                for variable in classifier.backbone.get_layer(name).weights
                if "kernel" in variable.name
            }
            assert len(kernels) == 1, f"{block.name} is half frozen at {fraction}"
        trainable.append((fraction, variables))
    (_, fewer), (_, more) = sorted(trainable, key=lambda pair: pair[0])
    assert fewer <= more


def test_tta_of_a_model_that_no_view_can_deceive_is_its_plain_prediction():
    """The model only depends on the order of the channels' brightness, which every view preserves."""
    inputs = keras.Input((32, 32, 3))
    colours = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.ops.cast(keras.ops.argsort(colours, axis=-1), "float32") / 3.0)
    labels = np.arange(12) % 3
    photos = np.full((12, 32, 32, 3), 90, np.uint8)
    photos[np.arange(12), :, :, labels] = 180
    photos += np.random.default_rng(0).integers(0, 20, photos.shape, dtype=np.uint8)
    photos[np.arange(12), :, :, (labels + 1) % 3] //= 2
    by_view = {view: predict_view(model, photos, view, batch_size=5) for view in VIEWS}
    for view, probabilities in by_view.items():
        np.testing.assert_array_equal(probabilities, by_view[PLAIN], err_msg=view)
    np.testing.assert_array_equal(average(by_view, tuple(VIEWS)), by_view[PLAIN])
    assert choose_views(by_view, labels, confidence=0.9, seed=0).views == (PLAIN,)
    shown = [VIEWS[view](photos) for view in VIEWS]
    assert all(not np.array_equal(shown[0], other) for other in shown[1:]), "every view must change the photos"
