"""Averages of weights, on TensorFlow and on JAX, whose variables have no values between steps (`make jax`)."""

import keras
import numpy as np

from carcls.config import TrainConfig
from carcls.input.epoch_plan import ArrayPlan
from carcls.input.prefetch import EpochBatches
from carcls.training.learner import Learner
from carcls.training.steps.schedules import rates
from carcls.training.steps.weight_averages import EMA_DECAYS, LAST_EPOCHS, WeightAverages

HEAD_ALONE = TrainConfig.model_validate(
    {
        "backbone": "MobileNet",
        "alpha": 0.25,
        "weights": "none",
        "image_size": 32,
        "batch_size": 4,
        "head": {"batch_norm": False, "units": 0, "dropout": 0.0},
        "optimizer": {"kind": "sgd", "momentum": 0.0},
        "stages": [{"name": "head", "unfreeze": 0.0, "epochs": 3, "learning_rate": 0.05}],
    }
)


def test_averages_follow_the_steps_and_the_epochs():
    variable = keras.Variable(np.zeros(2, np.float32))
    averages = WeightAverages([variable])
    values = [np.array([step, -step], np.float32) for step in range(1, 9)]
    for step, value in enumerate(values):
        variable.assign(value)
        averages.on_train_batch_end(step)
        if step % 2:
            averages.end_epoch()
    named = averages.by_name()
    assert named.keys() == {f"ema-{decay}" for decay in EMA_DECAYS} | {f"last-{count}" for count in LAST_EPOCHS}
    for decay in EMA_DECAYS:
        expected = values[0]
        for value in values[1:]:
            expected = decay * expected + (1 - decay) * value
        np.testing.assert_allclose(named[f"ema-{decay}"][0], expected, rtol=1e-5)
    np.testing.assert_allclose(named["last-3"][0], np.mean([values[3], values[5], values[7]], axis=0))
    np.testing.assert_allclose(named["last-5"][0], np.mean(values[1::2], axis=0), err_msg="there are four")


def test_an_average_keeps_its_values_when_the_weights_change():
    variable = keras.Variable(np.ones(1, np.float32))
    averages = WeightAverages([variable])
    averages.on_train_batch_end(0)
    averages.end_epoch()
    variable.assign(np.full(1, 9.0, np.float32))
    assert {name: weights[0].tolist() for name, weights in averages.by_name().items()} == {
        name: [1.0] for name in averages.by_name()
    }


def softmax_regression(kernel, bias, x, y, step_rates, *, batch: int, epochs: int):
    """(kernel, bias) after each step of plain gradient descent, written down without a framework."""
    steps = []
    for epoch in range(epochs):
        for number in range(len(x) // batch):
            rows = slice(number * batch, (number + 1) * batch)
            logits = x[rows] @ kernel + bias
            grown = np.exp(logits - logits.max(axis=1, keepdims=True))
            error = (grown / grown.sum(axis=1, keepdims=True) - y[rows]) / batch
            rate = step_rates[epoch * (len(x) // batch) + number]
            kernel, bias = kernel - rate * x[rows].T @ error, bias - rate * error.sum(axis=0)
            steps.append((kernel, bias))
    return steps


def test_averages_of_a_training_are_those_of_the_same_steps_by_hand():
    """Equal on both backends, because both equal what is computed by hand."""
    rng, stage, batch = np.random.default_rng(0), HEAD_ALONE.stages[0], HEAD_ALONE.batch_size
    learner = Learner(HEAD_ALONE, class_counts=np.array([8, 6, 6]), weights=None)
    learner.enter_stage(0, steps_per_epoch=5, averages=True)
    x = rng.normal(size=(20, learner.feature_count)).astype(np.float16)
    y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 20)]
    first = [array for key, array in learner.model_arrays().items() if "head_logits" in key]
    kernel, bias = sorted(first, key=lambda array: -array.ndim)
    for epoch in range(stage.epochs):
        learner.stage.train_epoch(EpochBatches(ArrayPlan(x, y, batch)), [1.0] * epoch)

    wide = x.astype(np.float64)
    steps = softmax_regression(kernel, bias, wide, y, rates(stage, 5), batch=batch, epochs=stage.epochs)
    assert learner.stage.averages is not None
    found = learner.stage.averages.by_name()
    assert not np.allclose(steps[0][0], steps[-1][0], atol=1e-3), "the training moves the weights"
    for decay in EMA_DECAYS:
        expected = steps[0]
        for step in steps[1:]:
            expected = tuple(decay * mean + (1 - decay) * now for mean, now in zip(expected, step, strict=True))
        for one, by_hand in zip(found[f"ema-{decay}"], expected, strict=True):
            np.testing.assert_allclose(one, by_hand, rtol=1e-4, atol=1e-5)
    for one, by_hand in zip(found["last-3"], zip(*steps[4::5], strict=True), strict=True):
        np.testing.assert_allclose(one, np.mean(by_hand, axis=0), rtol=1e-4, atol=1e-5)
