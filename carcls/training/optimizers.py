"""Optimizer settings -> a Keras optimizer: one case per kind, clipping and weight decay the same for all."""

from collections.abc import Sequence
from typing import Any

import keras

from carcls.config import OptimizerConfig


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
