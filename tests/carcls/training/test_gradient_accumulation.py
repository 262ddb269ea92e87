"""The optimizer that accumulates gradients over parts, with bare variables."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carcls.training.steps.gradient_accumulation import GradientAccumulator, accumulate_gradients, wrapped_optimizer
from carcls.training.steps.micro_batches import Accumulation, parts
from carcls.training.steps.optimizers import RateTable

RATES = np.array([0.5, 0.25, 0.125, 0.0625], np.float32)
FEATURES = 3


def make_optimizer(kind: str):
    rates = RateTable(RATES)
    if kind == "sgd":
        return keras.optimizers.SGD(rates, momentum=0.9, nesterov=True, weight_decay=0.1, global_clipnorm=1.0)
    return keras.optimizers.Adam(rates)


def gradient(weights: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Gradient of the mean of (w.x)^2 / 2 over examples (n, features)."""
    return (examples * (examples @ weights)[:, None]).mean(axis=0)


def descend(optimizer, examples: np.ndarray, places: list[slice]) -> np.ndarray:
    """One epoch: the variable after a step with the mean gradient of each part of the examples."""
    variable = keras.Variable(np.ones(FEATURES, np.float32))
    optimizer.build([variable])
    for stretch in places:
        grads = gradient(np.array(variable.value), examples[stretch]).astype(np.float32)
        optimizer.apply([keras.ops.convert_to_tensor(grads)], [variable])
    return np.array(variable.value)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are busy
@given(photos=st.integers(1, 14), batch_size=st.integers(1, 8), micro_batch=st.integers(1, 8), seed=st.integers(0, 99))
def test_parts_step_as_their_batches_do(kind, photos, batch_size, micro_batch, seed):
    examples = np.random.default_rng(seed).normal(size=(photos, FEATURES))
    count = -(-photos // batch_size)
    batches = [slice(n * photos // count, (n + 1) * photos // count) for n in range(count)]
    cut = Accumulation(micro_batch, parts(photos, batch_size=batch_size, micro_batch=micro_batch))
    places = [slice(batches[p.batch].start + p.rows.start, batches[p.batch].start + p.rows.stop) for p in cut.parts]

    whole, gathering = make_optimizer(kind), GradientAccumulator(make_optimizer(kind), cut)
    expected, found = descend(whole, examples, batches), descend(gathering, examples, places)

    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    assert int(gathering.iterations) == int(whole.iterations) == count
    assert float(gathering.learning_rate) == float(whole.learning_rate) == RATES[min(count, len(RATES) - 1)]


def test_an_overflowing_part_skips_only_its_own_batch():
    variable = keras.Variable(np.zeros(1, np.float32))
    cut = Accumulation(2, parts(8, batch_size=4, micro_batch=2))
    optimizer = accumulate_gradients(keras.optimizers.SGD(1.0), cut, "mixed_float16")
    optimizer.build([variable])
    scale = float(optimizer.scale_loss(keras.ops.convert_to_tensor(1.0)))
    assert scale == 2.0**15
    for gradient_of_part in (np.inf, 1.0):
        optimizer.apply([keras.ops.convert_to_tensor([gradient_of_part], dtype="float32")], [variable])
    assert float(variable.value[0]) == 0.0, "the whole batch is left out"
    assert float(optimizer.scale_loss(keras.ops.convert_to_tensor(1.0))) == scale / 2
    for gradient_of_part in (1.0, 3.0):
        optimizer.apply([keras.ops.convert_to_tensor([gradient_of_part * scale / 2], dtype="float32")], [variable])
    assert float(variable.value[0]) == pytest.approx(-2.0)
    assert int(optimizer.iterations) == 1


def test_a_checkpoint_has_only_the_inner_optimizers_variables():
    cut = Accumulation(1, parts(2, batch_size=2, micro_batch=1))
    inner = keras.optimizers.Adam(0.1)
    optimizer = accumulate_gradients(inner, cut, "float32")
    optimizer.build([keras.Variable(np.zeros(2, np.float32))])
    assert wrapped_optimizer(optimizer) is inner
    assert wrapped_optimizer(inner) is inner
    assert optimizer.variables[: len(inner.variables)] == inner.variables
    assert len(optimizer.variables) > len(inner.variables)


def test_a_plateau_lowers_the_inner_optimizers_rate():
    cut = Accumulation(1, parts(2, batch_size=2, micro_batch=1))
    inner = keras.optimizers.SGD(0.1)
    accumulate_gradients(inner, cut, "float32").learning_rate = 0.025
    assert float(inner.learning_rate) == pytest.approx(0.025)
