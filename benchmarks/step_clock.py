"""A Keras callback that notes when each training step began and ended; the same for us and for the peer."""

import time

import keras

from benchmarks.events import EventLog


class StepClock(keras.callbacks.Callback):
    """One `fit` event per call of fit, with the seconds that fit itself spent on validation.

    A step lasts from `on_train_batch_begin` to `on_train_batch_end`: the wait for its batch is inside.
    """

    def __init__(self, log: EventLog, entry: int) -> None:
        super().__init__()
        self._log, self._entry = log, entry
        self._batches: list[tuple[float, float]] = []
        self._begin = self._test_begin = self._validate_s = 0.0

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        self._begin = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self._batches.append((self._begin, time.monotonic()))

    def on_test_begin(self, logs: object = None) -> None:
        self._test_begin = time.monotonic()

    def on_test_end(self, logs: object = None) -> None:
        self._validate_s += time.monotonic() - self._test_begin

    def on_train_end(self, logs: object = None) -> None:
        self._log.note(self._entry, "fit", batches=self._batches, validate_s=self._validate_s)
        self._batches, self._validate_s = [], 0.0
