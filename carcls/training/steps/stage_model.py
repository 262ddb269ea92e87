"""The model that `fit` trains: a classifier, or its head, for batches that may have empty rows."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from carcls.backend import replicas

_traced = threading.local()
"""`rows` is the (b,) tensor of the batch that this thread traces: 1 for real rows. Absent without empty rows."""


class StageModel(keras.Model):
    """Shares the variables of `inner`, in the same order.

    Takes `inner`'s inputs or, for batches with empty rows, a pair of them and of `rows`, see
    `carcls.training.steps.constant_batches`. Empty rows do not count in the loss.
    """

    def __init__(self, inner: keras.Model, *, has_empty_rows: bool) -> None:
        super().__init__(name="stage", dtype=inner.dtype_policy, autocast=False)
        self.inner = inner
        self.built = True
        # Keras's own mean of the loss would give a batch with empty rows too much weight.
        self.example_loss = keras.metrics.Mean(name="example_loss") if has_empty_rows else None

    def call(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: ANN401 (tensors of any backend)
        """Softmax (b, classes)."""
        if self.example_loss is None:
            return self.inner(inputs, training=training)
        x, rows = inputs
        with _only(rows[:, 0]):
            return self.inner(x, training=training)

    def compute_loss(
        self,
        x: Any = None,  # noqa: ANN401 (as above)
        y: Any = None,  # noqa: ANN401 (as above)
        y_pred: Any = None,  # noqa: ANN401 (as above)
        sample_weight: Any = None,  # noqa: ANN401 (as above)
        training: bool = True,
    ) -> Any:  # noqa: ANN401 (as above)
        """Mean over the real rows, with penalties. Called by Keras."""
        if self.example_loss is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training=training)
        share = x[1][0, 1]
        # Keras divides by all rows, so the real ones weigh more. On several devices each divides by its own rows.
        loss = super().compute_loss(x, y, y_pred, sample_weight / share, training=training)
        # TensorFlow has divided the loss by the number of devices, whose gradients it adds.
        self.example_loss.update_state(loss * replicas.loss_parts(), sample_weight=share)
        return loss


@contextmanager
def _only(rows: Any) -> Iterator[None]:  # noqa: ANN401 (as above)
    _traced.rows = rows
    try:
        yield
    finally:
        del _traced.rows


@dataclass(frozen=True, eq=False, slots=True)
class _RealRowsOnly:
    """Replaces the `call` of a BatchNormalization that trains: its statistics are those of the real rows."""

    layer: keras.layers.BatchNormalization

    def __call__(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ANN401 (as above)
        rows = getattr(_traced, "rows", None)
        if rows is not None and training:
            mask = _broadcast(rows, inputs)
        return type(self.layer).call(self.layer, inputs, training=training, mask=mask)


def _broadcast(rows: Any, inputs: Any) -> Any:  # noqa: ANN401 (as above)
    """Rows (b,) as a mask for inputs (b, ..., channels), without the last axis."""
    ops = keras.ops
    sides = inputs.shape[1:-1]
    return ops.reshape(rows, (-1, *(1 for _ in sides))) * ops.ones((1, *sides), rows.dtype) if sides else rows


@dataclass(frozen=True, eq=False, slots=True)
class _OfAllDevices:
    """Replaces the `_moments` of a BatchNormalization that trains on several of TensorFlow's devices: statistics of the
    whole batch, as on one device. Keras's own `synchronized` leaves out batches with a mask."""

    def __call__(self, inputs: Any, mask: Any) -> tuple[Any, Any]:  # noqa: ANN401 (as above)
        """inputs: (b, ..., channels) of this device; mask: (b, ...) or None. Returns mean and variance (channels,)."""
        ops, axes = keras.ops, tuple(range(len(inputs.shape) - 1))
        weights = ops.ones_like(inputs)
        if mask is not None:
            weights = weights * ops.expand_dims(ops.cast(mask, inputs.dtype), -1)
        count = replicas.sum_of_devices(ops.sum(weights, axes))
        mean = replicas.sum_of_devices(ops.sum(weights * inputs, axes)) / count
        return mean, replicas.sum_of_devices(ops.sum(weights * ops.square(inputs - mean), axes)) / count


def use_whole_batches(layers: Iterable[keras.layers.Layer], *, has_empty_rows: bool) -> None:
    """Gives those BatchNorm layers that train the statistics of a batch's real rows on all devices.

    Call it before anything is traced.
    """
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            if has_empty_rows:
                layer.call = _RealRowsOnly(layer)
            if replicas.loss_parts() > 1:
                layer._moments = _OfAllDevices()  # private, but nothing else lies between statistics and their use
