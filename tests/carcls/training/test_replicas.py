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
devices_used, precision, folder, first, stop = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5]
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
from carcls.training.constant_batches import stage_fill
from carcls.training.learner import Learner

PHOTOS = 22
config = TrainConfig.model_validate({
    "backbone": "MobileNet", "alpha": 0.25, "weights": "none", "image_size": 32, "batch_size": 8,
    "precision": precision, "head": {"batch_norm": False, "units": 8, "dropout": 0.0, "l2": 0.01},
    "optimizer": {"kind": "adamw", "weight_decay": 0.01, "clip_norm": 1.0},
    "stages": [{"name": "head", "unfreeze": 0.0, "epochs": 4, "learning_rate": 0.01}],
})
learner = Learner(config, class_counts=np.array([8, 7, 7]), weights=None)
fill = stage_fill(config, 0, None, photos=PHOTOS, devices=devices_used)
learner.enter_stage(0, steps_per_epoch=batch_count(PHOTOS, 8), fill=fill)
if first != "0":
    learner.restore(load_state(Path(first))[0], with_optimizer=True)
x = np.random.default_rng(0).normal(size=(PHOTOS, learner.feature_count)).astype(np.float16)
y = np.eye(3, dtype=np.float32)[np.arange(PHOTOS) % 3]
start = 0 if first == "0" else 2
shown = [learner.train_epoch(EpochBatches(ArrayPlan(x, y, 8)), [1.0] * n) for n in range(start, int(stop))]
path = Path(folder) / f"after-{stop}.npz"
save_state(path, learner.model_arrays() | learner.optimizer_arrays(), {})
seen = learner.probabilities(x[:7])
print(json.dumps({"loss": [one.loss for one in shown], "accuracy": [one.accuracy for one in shown],
                  "seen": seen.tolist(), "replicas": replicas.replica_count()}))
"""


def train(folder: Path, devices_used: int, precision: str, *, first: Path | None = None, stop: int = 4) -> dict:
    folder.mkdir(exist_ok=True)
    arguments = [str(devices_used), precision, str(folder), str(first or 0), str(stop)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=os.environ | {"KERAS_BACKEND": keras.backend.backend(), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.parametrize(("precision", "rtol"), [("float32", 1e-4), ("bfloat16", 2e-2)])
def test_two_and_four_devices_train_as_one_does(tmp_path, precision, rtol):
    """22 photos in three batches of 7, 7 and 8."""
    one = train(tmp_path / "1", 1, precision)
    for count in (2, 4):
        several = train(tmp_path / str(count), count, precision)
        assert several["replicas"] == count
        np.testing.assert_allclose(several["loss"], one["loss"], rtol=rtol)
        np.testing.assert_allclose(several["accuracy"], one["accuracy"], rtol=1e-6)
        np.testing.assert_allclose(several["seen"], one["seen"], rtol=10 * rtol, atol=rtol)


@pytest.mark.release
@pytest.mark.slow
def test_a_checkpoint_of_two_devices_is_resumed_on_one(tmp_path):
    whole = train(tmp_path / "whole", 1, "float32")
    train(tmp_path / "two", 2, "float32", stop=2)
    resumed = train(tmp_path / "one", 1, "float32", first=tmp_path / "two" / "after-2.npz")
    np.testing.assert_allclose(resumed["loss"], whole["loss"][2:], rtol=1e-4)
    np.testing.assert_allclose(resumed["seen"], whole["seen"], rtol=1e-3)
