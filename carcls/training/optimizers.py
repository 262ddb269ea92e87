"""Optimizer settings -> a Keras optimizer: one case per kind, clipping and weight decay the same for all; and the
schedule that it looks its learning rate up in."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.config import OptimizerConfig


class RateTable(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate for each optimizer step, looked up; the last one holds for any step beyond."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        super().__init__()
        self.values = values

    def __call__(self, step: Any) -> Any:  # noqa: ANN401 (a tensor of whichever backend runs)
        """The rate of `step`, an integer scalar counted from 0."""
        index = keras.ops.minimum(keras.ops.cast(step, "int32"), len(self.values) - 1)
        return keras.ops.take(keras.ops.convert_to_tensor(self.values), index)

    def get_config(self) -> dict[str, Any]:
        """What Keras saves."""
        return {"values": self.values.tolist()}


def make_optimizer(
    settings: OptimizerConfig,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    variables: Sequence[keras.Variable],
) -> keras.optimizers.Optimizer:
    """A fresh optimizer, not yet built, for the trainable `variables` of one stage.

    Weight decay is decoupled from the gradient (Loshchilov & Hutter 2019): each step takes `weight_decay` times that
    step's learning rate off every kernel, so that it follows the schedule. `is_decayed` tells what a kernel is; what is
    frozen is not among `variables` and keeps its value. Clipping comes before the optimizer's own scaling.
    """
    common: dict[str, Any] = {
        "learning_rate": learning_rate,
        "weight_decay": settings.weight_decay or None,
        "global_clipnorm": settings.clip_norm,
    }
    optimizer: keras.optimizers.Optimizer
    match settings.kind:
        case "adam" | "adamw":  # Keras's AdamW is its Adam with a decay that must not be None
            optimizer = keras.optimizers.Adam(**common)
        case "sgd":
            optimizer = keras.optimizers.SGD(momentum=settings.momentum, nesterov=True, **common)
        case "rmsprop":
            optimizer = keras.optimizers.RMSprop(momentum=settings.momentum, **common)
    # By identity: names would miss a bias called otherwise, and catch a kernel of a layer called "gamma".
    optimizer.exclude_from_weight_decay(var_list=[one for one in variables if not is_decayed(one)])
    return optimizer


def is_decayed(variable: keras.Variable) -> bool:
    """True for kernels, of whatever layer: they have two or more axes. Biases, scale and shift of a normalisation and
    ConvNeXt's LayerScale have one: decay would only pull them to a function that is less than the identity."""
    return len(variable.shape) > 1
