"""Builds Keras optimizers from settings, with the same clipping and weight decay for all kinds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.config import OptimizerConfig

_KERNELS = frozenset({"kernel", "depthwise_kernel", "pointwise_kernel"})
"""Names of the variables by which Keras's layers multiply their inputs; the last two are of SeparableConv2D."""


class RateTable(keras.optimizers.schedules.LearningRateSchedule):
    """A table of learning rates, one per optimizer step. The last one applies to all later steps."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        super().__init__()
        self.values = values

    def __call__(self, step: Any) -> Any:  # noqa: ANN401 (a tensor of any backend)
        """The rate of `step`, an integer scalar counted from 0."""
        index = keras.ops.minimum(keras.ops.cast(step, "int32"), len(self.values) - 1)
        return keras.ops.take(keras.ops.convert_to_tensor(self.values), index)

    def get_config(self) -> dict[str, Any]:
        """The configuration that Keras saves."""
        return {"values": self.values.tolist()}


class _Extended:
    """Adds to an optimizer of Keras a factor of the learning rate per variable, and averages that stay beside the
    weights: Keras itself would overwrite the weights with them at the end of each `fit`, here after every epoch."""

    def __init__(self, *, factors: Sequence[float], **kwargs: Any) -> None:  # noqa: ANN401 (Keras's own)
        super().__init__(**kwargs)
        self._factors = tuple(factors)

    # Tensors and variables of any backend.
    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:  # noqa: ANN401
        """Decays and updates one variable with its own rate."""
        factor = self._factors[self._get_variable_index(variable)]  # type: ignore[attr-defined] # Keras's
        rate = keras.ops.cast(learning_rate * factor, variable.dtype)
        if self.weight_decay is not None and self._use_weight_decay(variable):  # type: ignore[attr-defined] # Keras's
            self.assign_sub(variable, variable * keras.ops.cast(self.weight_decay, variable.dtype) * rate)  # type: ignore[attr-defined] # Keras's
        super().update_step(gradient, variable, rate)  # type: ignore[misc] # Keras's

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Left to `update_step`, which knows the variable's own rate."""

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Keras calls this at the end of `fit`: leaves the weights as they are."""

    @property
    def averages(self) -> list[keras.Variable]:
        """The moving averages, one per variable, or nothing without EMA."""
        return list(self._model_variables_moving_average) if self.use_ema else []  # type: ignore[attr-defined] # Keras's


# Not private: Keras names scopes after the class, and TensorFlow refuses names that begin with an underscore.
class ExtendedAdam(_Extended, keras.optimizers.Adam):
    """Adam, extended."""


class ExtendedSgd(_Extended, keras.optimizers.SGD):
    """SGD, extended."""


class ExtendedRmsProp(_Extended, keras.optimizers.RMSprop):
    """RMSprop, extended."""


def make_optimizer(
    settings: OptimizerConfig,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    variables: Sequence[keras.Variable],
    *,
    factors: Sequence[float] | None = None,
    ema: float = 0.0,
) -> keras.optimizers.Optimizer:
    """A new optimizer, not yet built, for the trainable `variables` of one stage.

    factors: of the learning rate, one per variable; None for equal rates. ema: momentum of the weights' moving average,
    see `average_weights`; 0 for none.

    Weight decay is decoupled (Loshchilov & Hutter 2019): each step shrinks every kernel (see `is_decayed`) by
    `weight_decay` times that step's learning rate, so it follows the schedule. Frozen variables are not in `variables`
    and do not change. Gradients are clipped before the optimizer's own scaling.
    """
    common: dict[str, Any] = {
        "learning_rate": learning_rate,
        "weight_decay": settings.weight_decay or None,
        "global_clipnorm": settings.clip_norm,
    }
    is_plain = factors is None and not ema
    if not is_plain:
        common["factors"] = [1.0] * len(variables) if factors is None else factors
        common |= {"use_ema": True, "ema_momentum": ema} if ema else {}
    optimizer: keras.optimizers.Optimizer
    match settings.kind:
        case "adam" | "adamw":  # Keras's AdamW is its Adam with a decay that must not be None
            adam = keras.optimizers.Adam if is_plain else ExtendedAdam
            optimizer = adam(amsgrad=settings.amsgrad, **common)
        case "sgd":
            sgd = keras.optimizers.SGD if is_plain else ExtendedSgd
            optimizer = sgd(momentum=settings.momentum, nesterov=True, **common)
        case "rmsprop":
            rmsprop = keras.optimizers.RMSprop if is_plain else ExtendedRmsProp
            optimizer = rmsprop(momentum=settings.momentum, **common)
    # By identity: Keras would look for a name anywhere in a path, and so exempt a kernel in a layer called "gamma".
    optimizer.exclude_from_weight_decay(var_list=[one for one in variables if not is_decayed(one)])
    return optimizer


def average_weights(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The moving averages of an optimizer from `make_optimizer`, in the order of its variables; empty without EMA."""
    return optimizer.averages if isinstance(optimizer, _Extended) else []


@contextmanager
def holding(variables: Sequence[keras.Variable], values: Sequence[Any]) -> Iterator[None]:
    """Within the block the variables have these values, afterwards their own again."""
    own = [_copied(variable) for variable in variables]
    try:
        assign(variables, values)
        yield
    finally:
        assign(variables, own)


def assign(variables: Sequence[keras.Variable], values: Sequence[Any]) -> None:
    """Assigns copies of arrays or of other variables: two variables that share a buffer on JAX would lose it, since its
    steps reuse the memory of their arguments."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(_copied(value))


def _copied(value: Any) -> NDArray[Any]:  # noqa: ANN401 (an array or a variable of any backend)
    return np.array(keras.ops.convert_to_numpy(value))


def is_decayed(variable: keras.Variable) -> bool:
    """True for kernels of any layer. Biases, scale and shift of normalisation, and ConvNeXt's LayerScale are exempt:
    decay would only pull them away from the identity. So are class tokens, registers and positions of a transformer.

    By name, since biases of MultiHeadAttention, tokens and tables of positions have several axes, as kernels do.
    """
    return variable.name in _KERNELS and len(variable.shape) > 1
