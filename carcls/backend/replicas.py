"""Several devices for one training: each batch is spread over them, and its gradient is that of the whole batch.

On JAX, Keras's DataParallel splits every batch, and all else is as on one device. On TensorFlow, MirroredStrategy runs
the step on each device with its part of the batch; what depends on the whole batch is summed over the devices here. Its
predictions run on the first device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from carcls.backend.framework import keras

_devices: list[str] = []
_strategy: Any = None
"""TensorFlow's strategy, or None."""


def use_replicas(count: int, *, kind: str = "gpu") -> None:
    """Trains on the first `count` devices of this kind, `gpu` or `cpu`. Call it once, before any model is built."""
    global _strategy  # noqa: PLW0603 - one per process, as in Keras and TensorFlow
    if count == 1:
        return
    if keras.backend.backend() == "jax":
        # Keras lists devices by `kind`, and names those of JAX's CUDA backend `gpu` too.
        _devices[:] = keras.distribution.list_devices(kind)[:count]
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=_devices))
    else:
        import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

        _devices[:] = [one.name for one in tf.config.list_logical_devices(kind.upper())[:count]]
        _strategy = tf.distribute.MirroredStrategy(_devices)


def replica_count() -> int:
    """Number of devices over which this process spreads a batch."""
    return max(len(_devices), 1)


def loss_parts() -> int:
    """Number of parts into which the backend divides a loss: TensorFlow's devices compute one each."""
    return replica_count() if _strategy is not None else 1


def can_accumulate() -> bool:
    """Whether gradients of parts of batches can be accumulated on several devices. TensorFlow's cannot decide within a
    step whether the optimizer runs."""
    return keras.backend.backend() == "jax"


def whole(rows: int) -> int:
    """The smallest multiple of the number of devices that is not below `rows`."""
    return -(-rows // replica_count()) * replica_count()


def clip_whole_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Lets TensorFlow clip the gradient of the whole batch. Keras clips each device's part before it adds them."""
    if _strategy is None:
        return
    import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

    clip = optimizer._clip_gradients  # private, but Keras has no other place between the two

    def clip_sum(grads: list[Any]) -> list[Any]:
        context = tf.distribute.get_replica_context()
        sums = [None if one is None else context.all_reduce(tf.distribute.ReduceOp.SUM, one) for one in grads]
        # Divided, because Keras adds the clipped parts of all devices afterwards.
        return [None if one is None else one / replica_count() for one in clip(sums)]

    optimizer._clip_gradients = clip_sum


def check_whole_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Lets TensorFlow skip a step if the gradient of any device overflows. Keras's loss scaling looks at the first
    device alone, because it takes the gradients for sums already."""
    if _strategy is None or not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return
    check = optimizer.check_finite

    def check_sum(grads: list[Any]) -> Any:  # noqa: ANN401 (a tensor)
        overflows = keras.ops.cast(keras.ops.logical_not(check(grads)), "float32")
        return keras.ops.equal(sum_of_devices(overflows), 0.0)

    optimizer.check_finite = check_sum


def sum_of_devices(value: Any) -> Any:  # noqa: ANN401 (a tensor of any backend)
    """The sum of a value over TensorFlow's devices, within a step; the value itself on one device and on JAX."""
    if _strategy is None:
        return value
    import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

    context = tf.distribute.get_replica_context()
    return value if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, value)


@contextmanager
def on_replicas() -> Iterator[None]:
    """Models, optimizers and metrics that are made within the block train on all devices."""
    if _strategy is None:
        yield
    else:
        with _strategy.scope():
            yield
