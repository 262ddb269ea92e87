"""The batches of one epoch as Keras reads them, prepared ahead of the training step, in order."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from carcls.backend.framework import keras
from carcls.input.epoch_plan import Batch, Plan

_AHEAD = 3
"""Batches prepared ahead of the one asked for, at least: enough to even out slow batches, little memory."""
_BEHIND = 2
"""Batches kept behind it: Keras reads the first two to learn their shapes, then starts again at the first."""


def batches_held(threads: int) -> int:
    """How many batches an epoch holds at most: those behind, the one asked for, and one ahead for each thread."""
    return _BEHIND + 1 + max(_AHEAD, threads)


class EpochBatches(keras.utils.PyDataset):
    """The batches of one epoch: as many photos as there are, in an order that (seed, epoch) fix.

    Use one object per epoch, with `fit(..., shuffle=False)`: Keras otherwise shuffles the order of the batches with
    Python's global generator. x: photos uint8 (b, size, size, 3), 0..255, or what else the plan makes of them; y:
    float32 (b, class_count), rows summing to 1.
    Batches are prepared ahead by threads of this object; their number changes no value. The threads end when
    the last batch is on its way, or when the object goes. Close it after the epoch.
    """

    def __init__(self, plan: Plan, *, threads: int = 1) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.plan: Plan | None = plan
        self.ready_s: dict[int, float] = {}
        """When each batch was prepared, by its number, on the clock of `time.perf_counter`."""
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
        """Lets go of pixels and prepared batches: Keras on TensorFlow keeps every dataset that it ever read."""
        with self._lock:
            self.plan = None
            self._pending.clear()
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = None

    def __getitem__(self, number: int) -> Batch:
        """Batch `number`; blocks until it is ready. Raises IndexError past the end, ValueError once closed."""
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number} of an epoch of {len(self)}")
        with self._lock:
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
        """While `fit` reads the batches: what making one raised passes as it is. TensorFlow would turn it into an error
        of its own, which is neither a DataError nor an OSError any more."""
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
            raise ValueError("this epoch's batches are closed: make new ones by training_batches")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="batches")
        # The plan's method, not one of this object: a task must not keep alive the object whose end stops it.
        future = self._pool.submit(self.plan.batch, number)
        future.add_done_callback(partial(_note_time, self.ready_s, number))
        self._pending[number] = future
        if number == len(self) - 1:  # nothing left to ask for: the threads end when they are through
            self._pool.shutdown(wait=False)
            self._pool = None


def _note_time(times_s: dict[int, float], number: int, _future: Future[Batch]) -> None:
    times_s.setdefault(number, time.perf_counter())
