"""Averages of a stage's weights, recorded for experiments without changing the training."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

EMA_DECAYS = (0.96, 0.99)
"""Decays of exponential moving averages over steps. With 12 steps per epoch they span about 2 and 8 epochs."""
LAST_EPOCHS = (3, 5)
"""Numbers of last epochs of the stage whose weights are averaged."""

Weights = list[NDArray[np.float32]]


class WeightAverages(keras.callbacks.Callback):
    """Averages of variables over one stage. `fit` calls it after each step, its owner after each epoch.

    Exponential moving averages start from the weights after the first step, as with Keras's `use_ema`. Takes seven
    times the variables' size as float32 in host memory. An interruption of the stage loses the averages.
    """

    def __init__(self, variables: Sequence[keras.Variable]) -> None:
        super().__init__()
        self._variables = variables
        self._moving: dict[float, Weights] = {}
        self._epochs: deque[Weights] = deque(maxlen=max(LAST_EPOCHS))

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Called by Keras after each step."""
        if hasattr(self.model, "jax_state_sync"):
            # Between steps JAX's variables have no values: Keras writes them back at the end of the epoch only.
            self.model.jax_state_sync()
        now = self._now()
        if not self._moving:
            self._moving = {decay: [one.copy() for one in now] for decay in EMA_DECAYS}
            return
        for decay, averages in self._moving.items():
            for average, value in zip(averages, now, strict=True):
                # In place, so that no third copy of the weights is allocated per step.
                np.add(average, (1.0 - decay) * (value - average), out=average)

    def end_epoch(self) -> None:
        """Records the weights at the end of an epoch."""
        self._epochs.append(self._now())

    def by_name(self) -> dict[str, Weights]:
        """All averages after the last epoch, by name. Uses fewer epochs if the stage had fewer."""
        named = {f"ema-{decay}": averages for decay, averages in self._moving.items()}
        for count in LAST_EPOCHS:
            epochs = list(self._epochs)[-count:]
            named[f"last-{count}"] = [np.mean(each, axis=0) for each in zip(*epochs, strict=True)]
        return named

    def _now(self) -> Weights:
        return [np.array(keras.ops.convert_to_numpy(variable.value), np.float32) for variable in self._variables]
