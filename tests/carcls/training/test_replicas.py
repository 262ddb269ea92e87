"""One training on several devices comes to the numbers of one: on logical CPU devices, in their own processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

PROGRAM = """
import json, os, sys
asked = json.loads(sys.argv[1])
devices_used = asked["devices"]
if os.environ["KERAS_BACKEND"] == "jax":
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices_used}"
import numpy as np
from pathlib import Path
from carcls.backend import replicas
if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf
    tf.config.experimental.enable_op_determinism()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices_used)
replicas.use_replicas(devices_used, kind="cpu")
from carcls.config import TrainConfig
from carcls.input.epoch_plan import ArrayPlan, batch_count
from carcls.input.prefetch import EpochBatches
from carcls.training.checkpoint import load_state, save_state
from carcls.training.steps.constant_batches import stage_fill
from carcls.training.learner import Learner

PHOTOS = 22
y = np.eye(3, dtype=np.float32)[np.arange(PHOTOS) % 3]


def trained(config, folder, stages, first, stop):
    weights = Path(config.weights) if "/" in config.weights else None
    learner = Learner(config, class_counts=np.array([8, 7, 7]), weights=weights)
    losses, accuracies = [], []
    for number in stages:
        fill = stage_fill(config, number, None, photos=PHOTOS, devices=devices_used)
        learner.enter_stage(number, steps_per_epoch=batch_count(PHOTOS, 8), fill=fill)
        if first:
            learner.restore(load_state(Path(first))[0], with_optimizer=True)
        rng = np.random.default_rng(0)
        if learner.is_frozen:
            x = rng.normal(size=(PHOTOS, learner.feature_count)).astype(np.float16)
        else:
            x = (rng.integers(0, 60, (PHOTOS, 32, 32, 3)) + 90 * y[:, None, None, :]).astype(np.uint8)
        for epoch in range(2 if first else 0, min(stop, config.stages[number].epochs)):
            shown = learner.stage.train_epoch(EpochBatches(ArrayPlan(x, y, 8)), [1.0] * epoch)
            losses.append(shown.loss)
            accuracies.append(shown.accuracy)
        with learner.stage.scored_weights():
            seen = learner.probabilities(x[:7])
    save_state(Path(folder) / f"after-{stop}.npz", learner.model_arrays() | learner.optimizer_arrays(), {})
    return {"loss": losses, "accuracy": accuracies, "seen": seen.tolist(), "replicas": replicas.replica_count(),
            "moved": {key: array.tolist() for key, array in learner.model_arrays().items() if "moving" in key}}


shown = {}
for name, changes in asked["recipes"].items():
    (Path(asked["folder"]) / name).mkdir(parents=True, exist_ok=True)
    stages = range(len(changes["stages"]))
    shown[name] = trained(TrainConfig.model_validate(changes), Path(asked["folder"]) / name, stages, asked["first"],
                          asked["stop"])
print(json.dumps(shown))
"""

HEAD = [{"name": "head", "unfreeze": 0.0, "epochs": 4, "learning_rate": 0.01}]
TOP = [{"name": "top", "unfreeze": 0.5, "epochs": 4, "learning_rate": 0.001}]
ALL = [{"name": "all", "unfreeze": 1.0, "epochs": 4, "learning_rate": 0.001}]
SLOW = [{"name": "all", "unfreeze": 1.0, "epochs": 4, "learning_rate": 0.0002}]
"""For random weights, which magnify rounding."""


def recipe(weights: Path | None, stages, **changes) -> dict:
    """22 photos make three batches of 7, 7 and 8. Without weights the backbone's BatchNorm trains."""
    values = {
        "backbone": "MobileNet",
        "alpha": 0.25,
        "weights": "none" if weights is None else str(weights),
        "image_size": 32,
        "batch_size": 8,
        "precision": "float32",
        "head": {"batch_norm": False, "units": 8, "dropout": 0.0, "l2": 0.01},
        "optimizer": {"kind": "adamw", "weight_decay": 0.01, "clip_norm": 1.0},
        "stages": stages,
    }
    return values | changes


def train(
    folder: Path, devices_used: int, recipes: dict[str, dict], *, first: Path | None = None, stop: int = 4
) -> dict[str, dict]:
    """Results by the recipe's name."""
    asked = {
        "devices": devices_used,
        "recipes": recipes,
        "folder": str(folder),
        "first": None if first is None else str(first),
        "stop": stop,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(asked)],
        env=os.environ | {"KERAS_BACKEND": keras.backend.backend(), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


TOLERANCES = {
    "head": 1e-4,
    "head in bf16": 2e-2,
    "two stages, frozen BatchNorm": 1e-3,
    "averaged weights": 1e-3,
    "BatchNorm that trains": 5e-3,
    "bf16": 2e-2,
    "f16": 2e-2,
}


@pytest.fixture(scope="module")
def by_count(weights, tmp_path_factory) -> dict[int, dict[str, dict]]:
    """Results of all recipes on 1, 2 and 4 devices."""
    sgd = {"optimizer": {"kind": "sgd", "clip_norm": 0.5}}
    recipes = {
        "head": recipe(None, HEAD),
        "head in bf16": recipe(None, HEAD, precision="bfloat16"),
        "two stages, frozen BatchNorm": recipe(weights, [*TOP, *ALL]),
        "averaged weights": recipe(weights, ALL, ema=0.8, **sgd),
        "BatchNorm that trains": recipe(None, SLOW, **sgd),
        "bf16": recipe(weights, TOP, precision="bfloat16", **sgd),
        "f16": recipe(weights, TOP, precision="float16", **sgd),
    }
    assert recipes.keys() == TOLERANCES.keys()
    folder = tmp_path_factory.mktemp("replicas")
    return {count: train(folder / str(count), count, recipes) for count in (1, 2, 4)}


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", TOLERANCES)
@pytest.mark.parametrize("count", [2, 4])
def test_two_and_four_devices_train_as_one_does(by_count, name, count):
    one, several, rtol = by_count[1][name], by_count[count][name], TOLERANCES[name]
    assert several["replicas"] == count
    np.testing.assert_allclose(several["loss"], one["loss"], rtol=rtol)
    np.testing.assert_allclose(several["accuracy"], one["accuracy"], atol=1e-6 if rtol <= 1e-3 else 0.05)
    np.testing.assert_allclose(several["seen"], one["seen"], rtol=10 * rtol, atol=rtol)
    assert one["loss"][-1] < one["loss"][0], "the training learns"


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("count", [2, 4])
def test_statistics_of_a_batch_norm_are_those_of_the_whole_batch(by_count, count):
    """Those of each device's part would differ by a third: a batch has 7 photos."""
    one, several = (by_count[number]["BatchNorm that trains"]["moved"] for number in (1, count))
    assert len(one) == len(several) == 2 * 27
    for key, statistics in one.items():
        np.testing.assert_allclose(several[key], statistics, rtol=2e-2, atol=2e-3, err_msg=key)


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("stage", ["head", "all"])
def test_a_checkpoint_of_two_devices_is_resumed_on_one(tmp_path, weights, stage):
    recipes = {stage: recipe(weights, HEAD) if stage == "head" else recipe(weights, ALL, ema=0.8)}
    whole = train(tmp_path / "whole", 1, recipes)[stage]
    train(tmp_path / "two", 2, recipes, stop=2)
    resumed = train(tmp_path / "one", 1, recipes, first=tmp_path / "two" / stage / "after-2.npz")[stage]
    np.testing.assert_allclose(resumed["loss"], whole["loss"][2:], rtol=1e-3)
    np.testing.assert_allclose(resumed["seen"], whole["seen"], rtol=1e-2, atol=2e-3)


OVERFLOW = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from carcls.backend import replicas
replicas.use_replicas(2, kind="cpu")
import keras
strategy = replicas._strategy
with strategy.scope():
    variable = keras.Variable(np.ones(1, np.float32))
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0))
    optimizer.build([variable])
replicas.check_whole_gradients(optimizer)


@tf.function
def step(first, second):
    def one():
        device = tf.distribute.get_replica_context().replica_id_in_sync_group
        optimizer.apply([tf.where(tf.equal(device, 0), first, second)], [variable])
    strategy.run(one)


for gradients in [(4.0, np.inf), (2.0**14, 2.0**14)]:
    step(*(tf.constant([one], tf.float32) for one in gradients))
    print(float(variable.value.numpy()[0]), float(optimizer.dynamic_scale.value.numpy()))
"""


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX's gradients are sums already")
def test_an_overflow_on_the_second_device_skips_the_step_of_both():
    done = subprocess.run(
        [sys.executable, "-c", OVERFLOW],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    skipped, applied = (tuple(map(float, line.split())) for line in done.stdout.splitlines()[-2:])
    assert skipped == (1.0, 2.0**14)
    assert applied == (1.0 - 2 * 2.0**14 / 2.0**14, 2.0**14)
