"""The clock of one epoch's steps."""

import threading
import time
from collections.abc import Mapping
from typing import Any

import keras

_IN_FLIGHT = 3
"""Steps that may be started before the first of them has ended. Each holds its batch."""
_PATIENCE_S = 10.0
"""A step that fails never ends, and Keras raises its error only when the next one is started."""


class StepClock(keras.callbacks.Callback):
    """Begin and end of each training step, in seconds of `time.perf_counter`.

    Keras calls it in a thread once a step's results have arrived from the device. The training does not wait for that,
    so it can start further steps meanwhile. On TensorFlow Keras itself waits for the results of each step.
    """

    async_safe = True
    """Read by Keras, which otherwise waits for the results of each step before it starts the next."""

    def __init__(self) -> None:
        super().__init__()
        self.started_s = time.perf_counter()
        self._began: list[float] = []
        self._ended: dict[int, float] = {}
        self._room = threading.Semaphore(_IN_FLIGHT)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Called by Keras before each step, which may still have to wait for its batch."""
        self._room.acquire(timeout=_PATIENCE_S)
        self._began.append(time.perf_counter())

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Called by Keras when the results of a step have arrived."""
        self._ended[batch] = time.perf_counter()
        self._room.release()

    @property
    def steps(self) -> list[tuple[float, float]]:
        """(begin, end) of each step, once the epoch is over. A step begins when the device has ended the one before,
        and includes the wait for its batch."""
        steps: list[tuple[float, float]] = []
        for number, began in enumerate(self._began):
            free = steps[-1][1] if steps else began
            # A late thread may report two steps in the wrong order.
            begin = max(began, free)
            steps.append((begin, max(begin, self._ended[number])))
        return steps
