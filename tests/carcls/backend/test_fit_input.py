import gc
import time
import weakref

import keras
import numpy as np
import pytest

from carcls.backend import devices
from carcls.errors import DataError
from carcls.input.epoch_plan import ArrayPlan, Batch
from carcls.input.prefetch import EpochBatches
from carcls.training.steps.constant_batches import ConstantBatches


def epoch(count: int, batch_size: int) -> EpochBatches:
    x = np.arange(count * 4, dtype=np.uint8).reshape(count, 2, 2, 1)
    return EpochBatches(ArrayPlan(x, np.eye(3, dtype=np.float32)[np.arange(count) % 3], batch_size))


class LosesPhotos(ArrayPlan):
    """Raises for its third batch, in which a photo is missing."""

    def batch(self, number: int) -> Batch:
        if number == 2:
            raise DataError("7.jpg: no such file")
        return super().batch(number)


class Seen(keras.Model):
    """Records the batches that fit passes to it."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[np.ndarray, np.ndarray]] = []

    def train_step(self, data):
        self.batches.append(tuple(np.asarray(part) for part in data))
        return {"loss": 0.0}


@pytest.mark.parametrize(("count", "batch_size"), [(9, 3), (6, 3), (2, 5)])
def test_fit_sees_every_batch_once_in_order_and_as_it_is(count: int, batch_size: int) -> None:
    model, batches = Seen(), epoch(count, batch_size)
    model.compile(run_eagerly=True)
    model.fit(devices.fit_input(batches), epochs=1, shuffle=False, verbose=0)
    expected = [batches[number] for number in range(len(batches))]
    assert len(model.batches) == len(expected)
    for (x, y), (wanted_x, wanted_y) in zip(model.batches, expected, strict=True):
        np.testing.assert_array_equal(x, wanted_x)
        np.testing.assert_array_equal(y, wanted_y)
        assert (x.dtype, y.dtype) == (np.uint8, np.float32)


def test_a_compiled_step_sees_one_shape() -> None:
    dataset = devices.fit_input(epoch(9, 3))
    assert [tuple(spec.shape) for spec in dataset.element_spec] == [(3, 2, 2, 1), (3, 3)]
    assert int(dataset.cardinality()) == 3


def test_filled_batches_keep_their_structure() -> None:
    dataset = devices.fit_input(ConstantBatches(epoch(7, 3), 3))
    (x, rows), y, weights = dataset.element_spec
    assert [tuple(spec.shape) for spec in (x, rows, y, weights)] == [(3, 2, 2, 1), (3, 2), (3, 3), (3,)]


def test_nothing_is_tuned() -> None:
    assert devices.fit_input(epoch(4, 2)).options().autotune.enabled is False


def test_a_fitted_epoch_is_released() -> None:
    model, batches = Seen(), epoch(4, 2)
    gone = weakref.ref(batches)
    model.compile(run_eagerly=True)
    model.fit(devices.fit_input(batches), epochs=1, shuffle=False, verbose=0)
    batches.close()
    del batches
    deadline_s = time.monotonic() + 10
    while gone() is not None and time.monotonic() < deadline_s:
        gc.collect()
    assert gone() is None


def test_an_error_in_a_batch_keeps_our_message() -> None:
    """TensorFlow replaces it with its own error, which no longer shows that a photo is the cause."""
    x = np.zeros((9, 2, 2, 1), np.uint8)
    model, batches = Seen(), EpochBatches(LosesPhotos(x, np.eye(3, dtype=np.float32)[np.arange(9) % 3], 3))
    model.compile(run_eagerly=True)
    with pytest.raises(DataError, match=r"^7\.jpg: no such file$"), batches.own_errors():
        model.fit(devices.fit_input(batches), epochs=1, shuffle=False, verbose=0)
    assert len(model.batches) <= 2


def test_errors_that_are_not_of_the_batches_pass_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), epoch(6, 3).own_errors():
        raise ZeroDivisionError
