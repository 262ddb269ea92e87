"""Feeds the batches of one epoch to Keras, in order and prefetched by threads."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from carcls.backend.framework import keras
from carcls.input.epoch_plan import Batch, Plan

_AHEAD = 3
"""Minimum number of batches to prefetch: enough to even out slow batches, with little memory."""
_BEHIND = 2
"""Batches kept after use: Keras reads the first two to infer shapes, then starts again at the first."""


def batches_held(threads: int) -> int:
    """Maximum number of batches that an epoch holds: kept ones, the current one, and at least one ahead per thread."""
    return _BEHIND + 1 + max(_AHEAD, threads)


class EpochBatches(keras.utils.PyDataset):
    """The batches of one epoch, in the order of its plan.

    Use one object per epoch with `fit(..., shuffle=False)`; otherwise Keras shuffles batches with Python's global
    generator. x: usually photos uint8 (b, size, size, 3), 0..255, depending on the plan; y: float32 (b, class_count),
    rows summing to 1.

    Threads of this object prefetch batches; their number does not change values. They end after the last batch, or when
    the object is garbage collected. Close it after the epoch.
    """

    def __init__(self, plan: Plan, *, threads: int = 1) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.plan: Plan | None = plan
        self.ready_s: dict[int, float] = {}
        """Batch number -> time at which it was prepared, on the clock of `time.perf_counter`."""
        self._count = plan.batch_count
        self._threads = threads
        self._ahead = batches_held(threads) - _BEHIND - 1
        self._lock = threading.Lock()
        self._pending: dict[int, Future[Batch]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._failure: Exception | None = None

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Releases pixels and prepared batches, since Keras on TensorFlow never releases a dataset that it has read."""
        with self._lock:
            self.plan = None
            self._pending.clear()
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = None

    def __getitem__(self, number: int) -> Batch:
        """Batch `number`; blocks until it is ready. Raises IndexError past the end, ValueError if closed."""
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number} of an epoch of {len(self)}")
        with self._lock:  # only for submitting: waiting for the result below must not block other readers
            self._drop_far(number)
            for ahead in range(number, min(number + 1 + self._ahead, len(self))):
                self._submit(ahead)
            future = self._pending[number]
        try:
            return future.result()
        except Exception as error:
            self._failure = error
            raise

    @contextmanager
    def own_errors(self) -> Iterator[None]:
        """Within the block, an error that was raised while preparing a batch passes through `fit` unchanged.

        TensorFlow would replace it with its own, which is neither a DataError nor an OSError.
        """
        try:
            yield
        except Exception:
            if self._failure is not None:
                raise self._failure  # noqa: B904 - its own cause is kept; the framework's error is its context
            raise

    def _drop_far(self, number: int) -> None:
        for far in [n for n in self._pending if not number - _BEHIND <= n <= number + self._ahead]:
            self._pending.pop(far).cancel()

    def _submit(self, number: int) -> None:
        if number in self._pending:
            return
        if self.plan is None:
            raise ValueError("this epoch's batches are closed: create new ones with training_batches")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="batches")
        # The plan's method, not this object's: tasks must not keep this object alive, since its end stops them.
        future = self._pool.submit(self.plan.batch, number)
        future.add_done_callback(partial(_note_time, self.ready_s, number))
        self._pending[number] = future
        if number == len(self) - 1:  # nothing left to submit: the threads end when they are done
            self._pool.shutdown(wait=False)
            self._pool = None


def _note_time(times_s: dict[int, float], number: int, _future: Future[Batch]) -> None:
    times_s.setdefault(number, time.perf_counter())
