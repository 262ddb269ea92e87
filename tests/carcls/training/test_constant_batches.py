"""Filled batches: their sizes, that they train as the batches without empty rows do, and that one shape is compiled."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.input.epoch_plan import ArrayPlan, batch_count
from carcls.input.prefetch import EpochBatches
from carcls.training.learner import Learner
from carcls.training.steps.constant_batches import filled, filled_size, stage_fill
from carcls.training.steps.micro_batches import accumulation


@pytest.mark.parametrize(
    ("sizes", "devices_used", "expected"),
    [([8, 8, 8], 1, None), ([7, 8, 7], 1, 8), ([8, 8], 4, None), ([6, 6], 4, 8), ([5, 6], 2, 6), ([1], 2, 2)],
)
def test_sizes_are_filled_only_where_they_differ_or_do_not_divide(sizes, devices_used, expected):
    assert filled_size(sizes, devices=devices_used) == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are busy
@given(st.integers(1, 20_000), st.integers(2, 300), st.sampled_from([1, 2, 4, 8]))
def test_a_stage_is_filled_by_less_than_a_row_for_each_device_and_one(photos, batch_size, devices_used):
    config = recipe(batch_size=batch_size)
    size = stage_fill(config, 0, None, photos=photos, devices=devices_used)
    batches = batch_count(photos, batch_size)
    if size is None:
        assert photos % batches == 0
        assert (photos // batches) % devices_used == 0
    else:
        assert size % devices_used == 0
        assert 0 < size * batches - photos <= devices_used * batches


def test_empty_rows_are_last_and_have_a_valid_label():
    x, y = np.full((2, 3), 7, np.uint8), np.array([[0, 1, 0], [0, 0, 1]], np.float32)
    (pixels, rows), labels, weights = filled((x, y), 4)
    np.testing.assert_array_equal(pixels, [[7, 7, 7], [7, 7, 7], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(labels, [[0, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(rows, [[1, 0.5], [1, 0.5], [0, 0.5], [0, 0.5]])
    np.testing.assert_array_equal(weights, [1, 1, 0, 0])
    assert (pixels.dtype, labels.dtype) == (np.uint8, np.float32)
    (same, _), _, _ = filled((x, y), 2)
    assert same is x, "a full batch is not copied"


def recipe(**changes) -> TrainConfig:
    """The rate is low, because a random backbone magnifies rounding."""
    values = {
        "backbone": "MobileNet",
        "alpha": 0.25,
        "weights": "none",
        "image_size": 32,
        "batch_size": 5,
        "head": {"units": 8, "dropout": 0.3, "l2": 0.01},
        "class_balance": "weights",
        "augment": {"policy": "none"},
        "optimizer": {"kind": "sgd", "clip_norm": 0.5},
        "stages": [{"name": "all", "unfreeze": 1.0, "epochs": 2, "learning_rate": 1e-4}],
    }
    return TrainConfig.model_validate(values | changes)


HEAD = [{"name": "head", "unfreeze": 0.0, "epochs": 2, "learning_rate": 0.05}]


def epoch(photos: int, frozen: bool, batch_size: int, width: int) -> EpochBatches:
    rng = np.random.default_rng(photos)
    x = rng.normal(size=(photos, width)).astype(np.float16) if frozen else rng.integers(0, 256, (photos, 32, 32, 3))
    y = np.eye(3, dtype=np.float32)[np.arange(photos) % 3]
    return EpochBatches(ArrayPlan(x if frozen else x.astype(np.uint8), y, batch_size))


def train(config: TrainConfig, photos: int, *, fills: bool, micro_batch: int | None = None):
    """(losses and accuracies of two epochs, model's arrays, learner)."""
    learner = Learner(config, class_counts=np.array([9, 6, 3]), weights=None)
    cut = accumulation(micro_batch, config, 0, photos=photos)
    fill = stage_fill(config, 0, cut, photos=photos) if fills else None
    learner.enter_stage(0, steps_per_epoch=batch_count(photos, config.batch_size), cut=cut, fill=fill)
    shown = [
        learner.stage.train_epoch(epoch(photos, learner.is_frozen, config.batch_size, learner.feature_count), losses)
        for losses in ([], [1.0])
    ]
    return [(one.loss, one.accuracy) for one in shown], learner.model_arrays(), learner


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="BatchNorm of the backbone and the head, dropout, class weights"),
        pytest.param({"stages": HEAD}, id="head alone"),
        pytest.param({"stages": HEAD, "precision": "bfloat16"}, id="bfloat16"),
        pytest.param({"stages": HEAD, "head": {"batch_norm": False, "l2": 0.1}}, id="no BatchNorm"),
    ],
)
def test_empty_rows_change_nothing(monkeypatch, changes):
    config = recipe(**changes)
    fed = devices.fit_input
    now, arrays, _ = train(config, 18, fills=True)
    # Batches of 4, 5, 4 and 5, as they are: Keras reads them without a fixed shape.
    monkeypatch.setattr(devices, "fit_input", lambda batches: batches)
    before, expected, _ = train(config, 18, fills=False)
    monkeypatch.setattr(devices, "fit_input", fed)
    rtol = 1e-4 if config.precision != "bfloat16" else 2e-2
    np.testing.assert_allclose(now, before, rtol=rtol)
    assert arrays.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(arrays[key], array, rtol=10 * rtol, atol=10 * rtol, err_msg=key)


def test_parts_of_several_sizes_are_filled_too(monkeypatch):
    config = recipe(stages=HEAD, head={"batch_norm": False, "dropout": 0.0, "l2": 0.1}, class_balance="none")
    now, arrays, _ = train(config, 18, fills=True, micro_batch=2)
    monkeypatch.setattr(devices, "fit_input", lambda batches: batches)
    before, expected, _ = train(config, 18, fills=False, micro_batch=2)
    np.testing.assert_allclose(now, before, rtol=1e-4)
    for key, array in expected.items():
        np.testing.assert_allclose(arrays[key], array, rtol=1e-4, atol=1e-5, err_msg=key)


def test_validation_and_holdout_of_a_stage_have_one_shape():
    learner = train(recipe(stages=HEAD), 18, fills=True)[2]
    seen = []
    predictor = learner._predictors._head
    predicts = predictor.predict_on_batch
    predictor.predict_on_batch = lambda batch: (seen.append(batch.shape), predicts(batch))[1]
    features = np.random.default_rng(0).normal(size=(12, learner.feature_count)).astype(np.float16)
    validation = learner.probabilities(features)
    for count in (3, 7):
        np.testing.assert_allclose(learner.probabilities(features[:count]), validation[:count], rtol=1e-5)
    assert set(seen) == {(5, learner.feature_count)}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="counts TensorFlow's traces")
@pytest.mark.parametrize(("photos", "micro_batch"), [(18, None), (20, None), (18, 2), (13_227, None)])
def test_tensorflow_traces_a_stage_once(monkeypatch, photos, micro_batch):
    """13,227 photos: the contest's training part."""
    import tensorflow as tf

    built, shapes = [], set()
    function = tf.function

    def counted(body=None, **options):
        traced = function(body, **options)
        if getattr(body, "__name__", "") == "one_step_on_data":
            built.append(traced)
        return traced

    monkeypatch.setattr(tf, "function", counted)
    fed = devices.fit_input
    monkeypatch.setattr(
        devices,
        "fit_input",
        lambda batches: (shapes.add(tuple(fed(batches).element_spec[1].shape)), fed(batches))[1],
    )
    config = recipe(stages=HEAD, batch_size=5 if photos < 100 else 32)
    train(config, photos, fills=True, micro_batch=micro_batch)
    assert [one.experimental_get_tracing_count() for one in built] == [1]
    assert len(shapes) == 1
    assert None not in next(iter(shapes))
