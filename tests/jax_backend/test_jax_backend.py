"""carcls on JAX: training, prediction, TTA and export where TensorFlow is not installed. `make jax` runs this.

The folder is not called `jax`: pytest puts `tests` on the path, where Keras would take that folder for JAX itself.
"""

import math
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

if find_spec("tensorflow") is not None:
    pytest.skip(
        "TensorFlow is installed here; `make jax` runs this in an environment without it", allow_module_level=True
    )
if find_spec("jax") is None:
    pytest.skip("JAX is not installed here; `make jax` runs this in an environment with it", allow_module_level=True)
os.environ["KERAS_BACKEND"] = "jax"

import cv2
import jax
import keras
import numpy as np

from carcls.backend import devices
from carcls.config import AugmentConfig, HeadConfig, OptimizerConfig, ScheduleConfig, StageConfig, TrainConfig
from carcls.dataset.loading import load_dataset
from carcls.events import best_report
from carcls.inference.ensemble import Member, averaged
from carcls.inference.export import export_model, load_model
from carcls.inference.submission import write_submission
from carcls.inference.tta import VIEWS, average, predict_view
from carcls.inference.view_choice import choose_views
from carcls.input.training_data import TrainingData
from carcls.models.classifier import build_classifier
from carcls.scoring import metrics
from carcls.splits.split import make_split
from carcls.store import Store
from carcls.training.checkpoint import load_state
from carcls.training.fine_tuning import fine_tune, load_best
from carcls.training.steps.gradient_accumulation import accumulate_gradients
from carcls.training.steps.losses import WeightedCrossentropy, class_weights
from carcls.training.steps.micro_batches import Accumulation
from carcls.training.steps.micro_batches import parts as cut_into

SIZE = 32
KINDS = {"0": ((120, 20, 20), 0), "1": ((20, 120, 20), 1), "2": ((20, 20, 120), None)}
PHOTOS = 12
CONFIG = TrainConfig(
    backbone="MobileNet",
    alpha=0.25,
    weights="none",
    image_size=SIZE,
    batch_size=8,
    augment=AugmentConfig(policy="light"),
    stages=(
        StageConfig(name="head", unfreeze=0.0, epochs=2, learning_rate=1e-2),
        StageConfig(name="full", unfreeze=1.0, epochs=2, learning_rate=1e-3, image_scale=1.5),
    ),
)


def _draw_contest(root):
    """Red, green or blue, with stripes that lie, stand, or are not there."""
    rng = np.random.default_rng(0)
    rows = ["Id,Category"]
    for name, (rgb, axis) in KINDS.items():
        (root / "train" / name).mkdir(parents=True)
        for number in range(PHOTOS):
            photo = np.array(rgb[::-1]) + rng.normal(0, 10, (48, 64, 3))
            if axis is not None:
                stripes = np.arange(photo.shape[axis]) // 8 % 2 == number % 2
                photo += 120 * (stripes[:, None, None] if axis == 0 else stripes[None, :, None])
            cv2.imwrite(str(root / "train" / name / f"{name}{number:03}.png"), np.clip(photo, 0, 255).astype(np.uint8))
            rows.append(f"{name}{number:03}.png,{name}")
    (root / "train.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("cars")
    _draw_contest(root)
    split = make_split(load_dataset(root, processes=1), fraction=0.34, seed=0)
    return TrainingData(split=split, store=Store(tmp_path_factory.mktemp("store")), view_seed=0)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder, reports = tmp_path_factory.mktemp("trial"), []
    fine_tune(CONFIG, data, reports.append, folder=folder)
    return folder, reports


def test_the_backend_is_jax_and_nothing_imported_tensorflow(trained):
    assert keras.backend.backend() == "jax"
    assert "tensorflow" not in sys.modules
    assert devices.describe().startswith("jax")


def test_two_stages_train(trained):
    _, reports = trained
    assert [(report.epoch, report.stage_name, report.image_size) for report in reports] == [
        (1, "head", 32),
        (2, "head", 32),
        (3, "full", 48),
        (4, "full", 48),
    ]
    assert all(math.isfinite(report.train_loss) and math.isfinite(report.val_log_loss) for report in reports)
    assert reports[1].train_loss < reports[0].train_loss
    assert reports[2].trainable_parameters > 100 * reports[0].trainable_parameters


PROGRAM = """
import collections, os, sys
from pathlib import Path
import jax
from carcls.backend.compile_cache import CompileCache
CompileCache(Path(sys.argv[1]), 10**9).use(os.environ)
seen = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **rest: seen.update([event.rpartition("/")[2]]))
from carcls.models.backbones import build_backbone
build_backbone("MobileNet", 0.25, 32)
print(seen["cache_hits"], seen["cache_misses"])
"""


def test_a_later_process_compiles_nothing_again(tmp_path):
    counts = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=300, check=True
        )
        counts.append(tuple(map(int, done.stdout.split())))
    (_, compiled), (reused, compiled_again) = counts
    assert compiled > 10
    assert (reused, compiled_again) == (compiled, 0)


def test_each_stage_compiles_its_step_once(data, tmp_path):
    """22 photos make batches of 7, 7 and 8; in parts, of 3 and 4."""
    for micro_batch in (None, 4):
        compiled: list[str] = []

        def note(event, seconds, fun_name="", compiled=compiled, **rest):
            if event == "/jax/core/compile/backend_compile_duration" and "train_step" in fun_name:
                compiled.append(fun_name)

        jax.monitoring.register_event_duration_secs_listener(note)
        fine_tune(CONFIG, data, lambda report: None, folder=tmp_path / str(micro_batch), micro_batch=micro_batch)
        assert len(data.split.train) == 22
        assert len(compiled) == len(CONFIG.stages)


def test_a_resumed_training_comes_to_the_same_numbers(trained, data):
    folder, reports = trained
    again = []
    fine_tune(CONFIG, data, again.append, folder=folder, attempt=1, resume=reports[2].checkpoint)
    assert [report.epoch for report in again] == [4]
    assert again[0].train_loss == pytest.approx(reports[3].train_loss, rel=1e-5)
    assert again[0].val_log_loss == pytest.approx(reports[3].val_log_loss, rel=1e-5)


@pytest.fixture(scope="module")
def own_weights(tmp_path_factory):
    """With weights of its own a backbone keeps its BatchNorm as it is."""
    from carcls.models.backbones import build_backbone

    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    build_backbone("MobileNet", 0.25, SIZE).save_weights(path)
    return str(path)


def test_batches_in_parts_train_as_whole_ones_do(data, own_weights, tmp_path):
    stages = (
        StageConfig(name="head", unfreeze=0.0, epochs=2, learning_rate=0.05),
        StageConfig(name="top", unfreeze=0.1, epochs=1, learning_rate=0.01),
    )
    changed = {
        "weights": own_weights,
        "batch_size": 5,
        "head": HeadConfig(batch_norm=False, units=8, dropout=0.0, l2=0.01),
        "augment": AugmentConfig(policy="none"),
        "optimizer": OptimizerConfig(kind="sgd", clip_norm=0.5, weight_decay=0.01),
        "stages": stages,
    }
    config = CONFIG.model_copy(update=changed)
    whole, parts = [], []
    fine_tune(config, data, whole.append, folder=tmp_path / "whole")
    fine_tune(config, data, parts.append, folder=tmp_path / "parts", micro_batch=2)
    assert [report.micro_batch for report in parts] == [2, 2, 2]
    for one, other in zip(parts, whole, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.val_log_loss == pytest.approx(other.val_log_loss, rel=1e-4)
        arrays, expected = (load_state(tmp_path / name / one.checkpoint)[0] for name in ("parts", "whole"))
        assert arrays.keys() == expected.keys()
        for key, array in expected.items():
            np.testing.assert_allclose(arrays[key], array, rtol=1e-4, atol=1e-5, err_msg=key)


def test_half_precision_in_parts_skips_a_batch_that_overflows():
    variable = keras.Variable(np.zeros(1, np.float32))
    cut = Accumulation(2, cut_into(4, batch_size=4, micro_batch=2))
    optimizer = accumulate_gradients(keras.optimizers.SGD(1.0), cut, "mixed_float16")
    optimizer.build([variable])
    trained, state = [variable.value], [one.value for one in optimizer.variables]
    for gradient in (np.inf, 1.0, 2.0**14, 3 * 2.0**14):
        trained, state = optimizer.stateless_apply(state, [np.array([gradient], np.float32)], trained)
    assert float(trained[0][0]) == pytest.approx(-2.0), "the first batch is left out, the second scaled back"
    by_id = {id(one): value for one, value in zip(optimizer.variables, state, strict=True)}
    assert int(by_id[id(optimizer.iterations)]) == 1


def test_averages_rates_by_layer_and_rectangles_resume_to_the_same_numbers(data, own_weights, tmp_path):
    cycle = {"kind": "one_cycle"}
    changed = {
        "weights": own_weights,
        "image_size": [32, 48],
        "fit": "pad",
        "ema": 0.8,
        "layer_decay": 0.5,
        "loss": "focal",
        "optimizer": {"kind": "adamw", "weight_decay": 0.01, "amsgrad": True},
        "augment": {"policy": "trivial", "erase": 0.5},
        "head": {"layers": [{"kind": "dense", "width": 8, "bias": False}, {"kind": "batch_norm"}, {"kind": "relu"}]},
        "stages": [
            {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 1e-2, "schedule": cycle},
            {
                "name": "top",
                "unfreeze": 0.2,
                "epochs": 2,
                "learning_rate": 1e-3,
                "schedule": cycle,
                "batch_norm": "train",
                "batch_size": 5,
            },
        ],
    }
    config = TrainConfig.model_validate(CONFIG.model_dump() | changed)
    reports, again = [], []
    fine_tune(config, data, reports.append, folder=tmp_path)
    fine_tune(config, data, again.append, folder=tmp_path, attempt=1, resume=reports[1].checkpoint)
    assert [report.image_size for report in reports] == ["32x48"] * 3
    assert again[0].train_loss == pytest.approx(reports[2].train_loss, rel=1e-5)
    assert again[0].val_log_loss == pytest.approx(reports[2].val_log_loss, rel=1e-5)
    state, resumed = (load_state(tmp_path / one.checkpoint)[0] for one in (reports[2], again[0]))
    assert state.keys() == resumed.keys()
    for key, array in state.items():
        np.testing.assert_allclose(resumed[key], array, rtol=1e-4, atol=1e-6, err_msg=key)
    kept = next(report for report in reversed(reports) if report.best_weights.endswith(f"{report.epoch:04d}.npz"))
    classifier, size = load_best(config, tmp_path, kept, class_count=len(KINDS))
    predicted = predict_view(classifier.model, data.pixels("validation", size), "plain", batch_size=5)
    assert metrics.log_loss(predicted, data.split.validation.labels) == pytest.approx(kept.val_log_loss, rel=1e-4)
    averages = [array for key, array in state.items() if key.startswith("optimizer/")]
    assert any(np.array_equal(state["model/head_logits/bias"], array) for array in averages), "a stage ends with them"


@pytest.mark.parametrize("kind", ["adamw", "sgd", "rmsprop"])
def test_every_optimizer_trains_with_decay_clipping_and_class_weights(data, tmp_path, kind):
    optimizer = OptimizerConfig(kind=kind, weight_decay=0.1, momentum=0.5, clip_norm=1.0)
    schedule = ScheduleConfig(kind="plateau", patience_epochs=1)
    stage = StageConfig(name="head", unfreeze=0.0, epochs=3, learning_rate=1e-2, schedule=schedule)
    changed = {"optimizer": optimizer, "class_balance": "weights", "label_smoothing": 0.1, "stages": (stage,)}
    reports = []
    fine_tune(CONFIG.model_copy(update=changed), data, reports.append, folder=tmp_path)
    assert reports[-1].train_loss < reports[0].train_loss


def test_class_weights_by_hand():
    weights, labels = class_weights(np.array([2, 6])), np.array([[1.0, 0.0], [0.25, 0.75]])
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7]])
    by_hand = -(labels * np.log(probabilities)) @ np.array([2.0, 2 / 3])
    loss = WeightedCrossentropy(weights, label_smoothing=0.0)
    assert float(loss(labels, probabilities)) == pytest.approx(by_hand.mean(), rel=1e-5)


def test_prediction_tta_export_and_submission(trained, data, tmp_path):
    folder, reports = trained
    best = best_report(reports)
    classifier, size_px = load_best(CONFIG, folder, reports[-1], class_count=len(KINDS))
    assert size_px == best.image_size
    table, pixels = data.split.validation, data.pixels("validation", size_px)
    views = ("plain", "flip", "zoom")
    by_view = {view: predict_view(classifier.model, pixels, view, batch_size=5) for view in views}
    assert metrics.log_loss(by_view["plain"], table.labels) == pytest.approx(best.val_log_loss, rel=1e-4)
    assert metrics.accuracy(by_view["plain"], table.labels) == best.val_accuracy

    choice = choose_views(by_view, table.labels, confidence=0.9, seed=0)
    assert choice.plain_accuracy == best.val_accuracy
    averaged = average(by_view, views)
    np.testing.assert_allclose(averaged.sum(axis=1), 1.0, rtol=1e-5)

    path = tmp_path / "model.keras"
    export_model(path, classifier, class_names=tuple(KINDS), config=CONFIG, size_px=size_px, tta_views=views)
    predictions = load_model(path).predict_files([table.root / photo for photo in table.paths], batch_size=5)
    assert [prediction.label for prediction in predictions] == [str(label) for label in averaged.argmax(axis=1)]
    np.testing.assert_allclose([p.probability for p in predictions], averaged.max(axis=1), rtol=1e-4)

    sample = tmp_path / "sample.csv"
    sample.write_text("Id,Category\n" + "".join(f"{photo},0\n" for photo in table.ids))
    fallen = write_submission(
        tmp_path / "submission.csv",
        sample=sample,
        probabilities=averaged,
        ids=table.ids,
        class_names=tuple(KINDS),
        fallback="0",
    )
    assert fallen == ()
    assert len((tmp_path / "submission.csv").read_text().splitlines()) == len(table) + 1


def test_an_average_of_two_sizes_is_the_members_mean_also_when_exported(trained, data, tmp_path):
    folder, reports = trained
    large, size_px = load_best(CONFIG, folder, reports[-1], class_count=len(KINDS))
    small = build_classifier(CONFIG, size_px=SIZE, class_count=len(KINDS), weights=None)
    small.model.get_layer("head_logits").bias.assign([0.0, 1.0, 2.0])
    pixels = data.pixels("validation", size_px)[:5]
    resized = keras.layers.Resizing(SIZE, SIZE, interpolation="bilinear")(pixels.astype(np.float32))
    outputs = large.model.predict_on_batch(pixels), small.model.predict_on_batch(resized)
    model = averaged([Member(large, size_px), Member(small, SIZE)])
    path = tmp_path / "model.keras"
    export_model(path, model, class_names=tuple(KINDS), config=CONFIG, size_px=size_px, tta_views=("plain",), members=2)
    for found in (model, load_model(path).model):
        np.testing.assert_allclose(found.predict_on_batch(pixels), np.mean(outputs, axis=0), rtol=0, atol=1e-5)


@pytest.mark.real
def test_pretrained_weights_learn_to_tell_the_kinds(data, shared, tmp_path):
    weights = shared / "weights" / "mobilenet_2_5_224_tf_no_top.h5"
    stages = (
        StageConfig(name="head", unfreeze=0.0, epochs=20, learning_rate=2e-2),
        StageConfig(name="top", unfreeze=0.3, epochs=2, learning_rate=1e-4),
    )
    # Without BatchNorm: its moving statistics need more steps than a short test has.
    changed = {"weights": str(weights), "head": HeadConfig(batch_norm=False, dropout=0.0), "stages": stages}
    config = CONFIG.model_copy(update=changed)
    reports = []
    fine_tune(config, data, reports.append, folder=tmp_path)
    classifier, size_px = load_best(config, tmp_path, reports[-1], class_count=len(KINDS))
    pixels = data.pixels("validation", size_px)
    by_view = {view: predict_view(classifier.model, pixels, view, batch_size=8) for view in VIEWS}
    for view, probabilities in by_view.items():
        if view.startswith(("crop_top", "crop_bottom")):  # cuts off part of these cars, so not all can be told apart
            alone = classifier.model.predict_on_batch(VIEWS[view](np.asarray(pixels)))
            np.testing.assert_allclose(probabilities, alone, atol=1e-5, err_msg=view)
        else:
            assert metrics.accuracy(probabilities, data.split.validation.labels) == 1.0, view
