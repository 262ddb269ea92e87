"""Prepares the batches of an unfrozen stage in threads, or in processes that write into shared memory."""

import logging
import mmap
import os
import pickle
import queue
import socket
import weakref
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig
from carcls.input.batch_worker import Done, Task, pack_plan
from carcls.input.batch_worker_server import BatchWorkerServer
from carcls.input.epoch_plan import Batch, EpochPlan, Plan
from carcls.input.pixels import pixels_bytes
from carcls.input.prefetch import batches_held

_log = logging.getLogger(__name__)

_SPARE = 4
"""Extra buffers beyond the batches that an epoch holds: three in use by the model, one of the previous epoch."""


def uses_worker_processes(config: TrainConfig, *, cores: int) -> bool:
    """Whether processes are expected to prepare batches faster than threads.

    A view of 224 px takes 0.1 to 1.5 ms, of which 0.1 to 0.2 ms hold the GIL, so threads together make at most 5,000 to
    10,000 views per second. On two cores, processes are 1.1 (`medium`) to 2 times (`light`) as fast; if TensorFlow uses
    the same two cores, both take equally long. Not measured on more cores. Copying finished photos is too little work
    to send to another process.
    """
    return cores > 1 and config.augment.policy != "none" and not config.augment.cache_views


class Feeder:
    """The worker processes of one training run. They start with the first plan that needs them and end with `close`.

    `batch` is thread-safe. Values do not depend on the number of processes or on their fate: if one is killed, this
    process does its share from then on and logs one warning. Shared memory is allocated on first use: `batches_held`
    plus four batches of the training's largest image size.
    """

    def __init__(self, config: TrainConfig, *, cores: int, batch_server: BatchWorkerServer | None) -> None:
        """cores: number of the training's cores. batch_server: source of workers; None starts one if needed."""
        self._processes = cores if uses_worker_processes(config, cores=cores) else 0
        self._batch_bytes = max(
            config.stage_batch_size(stage) * pixels_bytes(1, config.stage_size(stage))
            for stage in range(len(config.stages))
        )
        self._given = batch_server
        self._own: BatchWorkerServer | None = None
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        """Workers without a task; None stands for a dead worker."""
        self._slots: _Slots | None = None

    def plan(self, plan: EpochPlan) -> Plan:
        """The same batches, prepared by the processes if these are faster."""
        if not self._processes:
            return plan
        if self._slots is None:
            self._slots = _Slots(batches_held(self._processes) + _SPARE, self._batch_bytes)
            self._start(self._slots)
        return _FedPlan(plan, self)

    def batch(self, plan: EpochPlan, number: int) -> Batch:
        """`plan.batch(number)`, prepared by a worker. Blocks until it is ready. Raises what that raises."""
        worker, made = self._idle.get(), None  # blocks while all workers are busy, which limits tasks to their number
        try:
            if worker is not None:
                made = worker.batch(plan, number)
        except (EOFError, OSError) as error:
            _log.warning("%s died (%r): this process prepares its share of the batches from now on", worker, error)
            worker = None
        finally:
            self._idle.put(worker)
        return plan.batch(number) if made is None else made

    def close(self) -> None:
        """Ends the processes after their current batches. Batches already returned stay valid."""
        for worker in [self._idle.get() for _ in range(self._processes)] if self._slots else []:
            if worker is not None:
                worker.close()
            self._idle.put(None)  # later tasks run in the calling thread
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, slots: "_Slots") -> None:
        workers: list[_Worker | None] = []
        try:
            workers += [_Worker(self._batch_server().worker(slots.descriptor), slots) for _ in range(self._processes)]
        except OSError as error:
            _log.warning("cannot start processes to prepare batches (%s): using threads", error)
            workers += [None] * self._processes
        for worker in workers:
            self._idle.put(worker)

    def _batch_server(self) -> BatchWorkerServer:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = BatchWorkerServer.spawned()
        return self._own


@dataclass(frozen=True, eq=False)
class _FedPlan:
    """A plan whose batches are prepared by processes."""

    plan: EpochPlan
    feeder: Feeder

    @property
    def batch_count(self) -> int:
        return self.plan.batch_count

    def batch(self, number: int) -> Batch:
        return self.feeder.batch(self.plan, number)


class _Worker:
    """The trainer's handle of one worker; for one thread at a time."""

    def __init__(self, trainer_end: socket.socket, slots: "_Slots") -> None:
        self._connection = Connection(trainer_end.detach())
        self._slots = slots
        self._plan: EpochPlan | None = None
        self._pid: int | None = None

    def __str__(self) -> str:
        return "a batch worker" if self._pid is None else f"batch worker {self._pid}"

    def batch(self, plan: EpochPlan, number: int) -> Batch | None:
        """The batch, or None if no buffer is free or the worker failed. Raises EOFError, OSError."""
        slot = self._slots.take()
        if slot is None:
            return None
        done = None
        try:
            done = self._ask(plan, number, self._slots.offset(slot))
        finally:
            if done is None:
                self._slots.give_back(slot)
        return None if done is None else (self._slots.array(slot, done.shape), done.y)

    def close(self) -> None:
        """Closes the connection, on which the worker exits."""
        self._connection.close()

    def _ask(self, plan: EpochPlan, number: int, offset: int) -> Done | None:
        packed = None if plan is self._plan else pack_plan(plan)
        self._connection.send_bytes(pickle.dumps(Task(packed, number, offset)))
        self._plan = plan
        self._pid, done = pickle.loads(self._connection.recv_bytes())  # noqa: S301 - from our own worker
        return done


class _Slots:
    """Shared memory for a fixed number of batches. A memfd, because /dev/shm is small in containers.

    A slot becomes free when its array and all views of it are garbage collected. Batches are therefore never copied,
    and a framework that keeps a reference to the array, as JAX does on CPUs, keeps valid data.
    """

    def __init__(self, count: int, slot_bytes: int) -> None:
        self._slot_bytes = -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self.descriptor = os.memfd_create("carcls-batches")
        weakref.finalize(self, os.close, self.descriptor)
        os.ftruncate(self.descriptor, count * self._slot_bytes)
        self._memory = mmap.mmap(self.descriptor, count * self._slot_bytes)
        self._free = deque(range(count))  # atomic at both ends: a finalizer may run at any time in any thread

    def take(self) -> int | None:
        """A free slot, or None."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    def offset(self, slot: int) -> int:
        """Offset of a slot in bytes."""
        return slot * self._slot_bytes

    def array(self, slot: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The photos in a slot, uint8. The slot is released when they are garbage collected."""
        flat = np.frombuffer(self._memory, np.uint8, int(np.prod(shape)), self.offset(slot))
        weakref.finalize(flat, self._free.append, slot).atexit = False
        return flat.reshape(shape)  # a view, which keeps `flat`
