"""Builds Keras optimizers from settings, with the same clipping and weight decay for all kinds."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.config import OptimizerConfig


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


def make_optimizer(
    settings: OptimizerConfig,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    variables: Sequence[keras.Variable],
) -> keras.optimizers.Optimizer:
    """A new optimizer, not yet built, for the trainable `variables` of one stage.

    Weight decay is decoupled (Loshchilov & Hutter 2019): each step shrinks every kernel (see `is_decayed`) by
    `weight_decay` times that step's learning rate, so it follows the schedule. Frozen variables are not in `variables`
    and do not change. Gradients are clipped before the optimizer's own scaling.
    """
    common: dict[str, Any] = {
        "learning_rate": learning_rate,
        "weight_decay": settings.weight_decay or None,
        "global_clipnorm": settings.clip_norm,
    }
    optimizer: keras.optimizers.Optimizer
    match settings.kind:
        case "adam" | "adamw":  # Keras's AdamW is its Adam with a decay that must not be None
            optimizer = keras.optimizers.Adam(amsgrad=settings.amsgrad, **common)
        case "sgd":
            optimizer = keras.optimizers.SGD(momentum=settings.momentum, nesterov=True, **common)
        case "rmsprop":
            optimizer = keras.optimizers.RMSprop(momentum=settings.momentum, **common)
    # By identity: matching names would miss biases with other names, and match a kernel in a layer called "gamma".
    optimizer.exclude_from_weight_decay(var_list=[one for one in variables if not is_decayed(one)])
    return optimizer


def is_decayed(variable: keras.Variable) -> bool:
    """True for kernels of any layer, which have at least two axes. Biases, scale and shift of normalisation, and
    ConvNeXt's LayerScale have one axis: decay would only pull them away from the identity."""
    return len(variable.shape) > 1
