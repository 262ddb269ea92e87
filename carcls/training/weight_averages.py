"""Averages of a stage's weights, kept beside a training that they do not change: what a laboratory compares."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

EMA_DECAYS = (0.96, 0.99)
"""Of exponential moving averages over steps. In a stage of 12 steps an epoch they reach back about 2 and 8 epochs."""
LAST_EPOCHS = (3, 5)
"""Numbers of epochs whose weights are averaged, each counted back from the stage's end."""

Weights = list[NDArray[np.float32]]


class WeightAverages(keras.callbacks.Callback):
    """Averages of some variables over one stage. `fit` tells it of each step, its owner of each epoch.

    An exponential moving average starts from the weights after the first step (as Keras's `use_ema` does). In host
    memory, float32: seven times the variables. Lost where the stage is interrupted.
    """

    def __init__(self, variables: Sequence[keras.Variable]) -> None:
        super().__init__()
        self._variables = variables
        self._moving: dict[float, Weights] = {}
        self._epochs: deque[Weights] = deque(maxlen=max(LAST_EPOCHS))

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keras calls it after each step."""
        now = self._now()
        if not self._moving:
            self._moving = {decay: [one.copy() for one in now] for decay in EMA_DECAYS}
            return
        for decay, averages in self._moving.items():
            for average, value in zip(averages, now, strict=True):
                np.add(average, (1.0 - decay) * (value - average), out=average)

    def end_epoch(self) -> None:
        """The epoch is over."""
        self._epochs.append(self._now())

    def by_name(self) -> dict[str, Weights]:
        """Every average as it stands after the last epoch. Fewer epochs than asked for are averaged where there are
        fewer."""
        named = {f"ema-{decay}": averages for decay, averages in self._moving.items()}
        for count in LAST_EPOCHS:
            epochs = list(self._epochs)[-count:]
            named[f"last-{count}"] = [np.mean(each, axis=0) for each in zip(*epochs, strict=True)]
        return named

    def _now(self) -> Weights:
        return [np.array(keras.ops.convert_to_numpy(variable.value), np.float32) for variable in self._variables]
