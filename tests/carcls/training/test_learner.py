import keras
import numpy as np
import pytest

from carcls.config import OptimizerConfig, StageConfig, TrainConfig
from carcls.errors import CheckpointError
from carcls.training.checkpoint import save_state
from carcls.training.epoch_files import changed_keys, load_progress
from carcls.training.learner import Learner
from carcls.training.position import Position
from carcls.training.steps.optimizers import RateTable

CONFIG = TrainConfig(
    backbone="MobileNet",
    alpha=0.25,
    weights="none",
    image_size=32,
    batch_size=4,
    stages=(
        StageConfig(name="full", unfreeze=1.0, epochs=1, learning_rate=0.1),
        StageConfig(name="large", unfreeze=1.0, epochs=1, learning_rate=0.1, image_scale=1.5),
    ),
)


def test_a_rate_is_looked_up_by_step_and_the_last_one_stays():
    table = RateTable(np.array([0.3, 0.2, 0.1], np.float32))
    looked_up = [float(table(keras.ops.convert_to_tensor(step, "int64"))) for step in (0, 1, 2, 3, 99)]
    np.testing.assert_allclose(looked_up, [0.3, 0.2, 0.1, 0.1, 0.1], rtol=1e-6)


@pytest.fixture(scope="module")
def learner() -> Learner:
    learner = Learner(CONFIG, class_counts=np.array([6, 6, 6]), weights=None)
    learner.enter_stage(0, steps_per_epoch=3)
    return learner


def test_the_size_of_the_batches_changes_no_probability(learner):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)
    whole = learner.probabilities(pixels)
    assert whole.shape == (9, 3)
    np.testing.assert_allclose(whole.sum(axis=1), 1.0, rtol=1e-5)
    for one in range(9):
        np.testing.assert_allclose(learner.probabilities(pixels[one : one + 1])[0], whole[one], rtol=1e-4)


def test_batch_norm_trains_only_where_the_weights_are_random(learner, weights):
    pretrained = Learner(
        CONFIG.model_copy(update={"weights": str(weights)}), class_counts=np.array([6, 6, 6]), weights=weights
    )
    pretrained.enter_stage(0, steps_per_epoch=3)
    statistics = [key for key in learner.model_arrays() if key.endswith("/gamma") and "head" not in key]
    scale_and_shift = sum(2 * learner.model_arrays()[key].size for key in statistics)
    assert len(statistics) == 27
    assert learner.stage.trainable_parameters - pretrained.stage.trainable_parameters == scale_and_shift


def test_another_image_size_keeps_every_variable(weights):
    learner = Learner(CONFIG, class_counts=np.array([6, 6, 6]), weights=weights)
    learner.enter_stage(0, steps_per_epoch=3)
    before = {key: array + 0.5 if key.startswith("model/") else array for key, array in learner.model_arrays().items()}
    learner.restore(before, with_optimizer=False)
    learner.enter_stage(1, steps_per_epoch=3)
    after = learner.model_arrays()
    assert after.keys() == before.keys()
    for key, array in before.items():
        np.testing.assert_array_equal(after[key], array, err_msg=key)
    assert learner.probabilities(np.zeros((2, 48, 48, 3), np.uint8)).shape == (2, 3)


def test_half_precision_scales_the_loss_in_frozen_stages_too():
    stages = (CONFIG.stages[0].model_copy(update={"unfreeze": 0.0}), CONFIG.stages[0])
    changed = {"precision": "float16", "stages": stages}
    learner = Learner(CONFIG.model_copy(update=changed), class_counts=np.array([6, 6, 6]), weights=None)
    for number in (0, 1):
        learner.enter_stage(number, steps_per_epoch=3)
        scales = [array for array in learner.optimizer_arrays().values() if array.shape == () and array == 2.0**15]
        assert len(scales) == 1, "Keras starts its loss scale at 2 ** 15"


def test_an_older_checkpoint_gets_the_default_of_a_new_key(tmp_path):
    old = CONFIG.model_dump(mode="json")
    del old["optimizer"], old["class_balance"], old["augment"]["mixup"]
    meta = {"config": old, "position": Position().to_json()}
    save_state(tmp_path / "attempt-0" / "epoch-0001.npz", {}, meta)
    progress = load_progress(CONFIG, tmp_path, "attempt-0/epoch-0001.npz")
    assert (progress.position, progress.arrays, progress.weights, progress.left_out) == (Position(), {}, None, {})
    decayed = CONFIG.model_copy(update={"optimizer": OptimizerConfig(kind="adamw", weight_decay=0.1)})
    with pytest.raises(CheckpointError, match="another configuration: optimizer changed"):
        load_progress(decayed, tmp_path, "attempt-0/epoch-0001.npz")


def test_changed_keys_are_named():
    assert changed_keys({"a": 1, "b": [1], "c": 2}, {"a": 1, "b": [2], "d": 2}) == ("b", "c", "d")
    assert changed_keys({"a": 1}, {"a": 1}) == ()
