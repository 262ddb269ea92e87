"""Who prepares the batches of an unfrozen stage: threads of the trainer, or processes that write into its memory."""

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
from carcls.input.batch_worker_server import Nursery
from carcls.input.epoch_plan import Batch, EpochPlan, Plan
from carcls.input.pixels import pixels_bytes
from carcls.input.prefetch import batches_held

_log = logging.getLogger(__name__)

_SPARE = 2
"""Batches beyond those that an epoch holds: the one in the model's hands, and one of the epoch before."""


def feeds_by_processes(config: TrainConfig, *, cores: int) -> bool:
    """Whether processes prepare batches faster than threads would.

    Of the 0.1 to 1.5 ms that a view of 224 px takes, 0.1 to 0.2 ms hold Python's lock: however many threads there are,
    together they make at most 5,000 to 10,000 views a second. On two cores processes are 1.1 (`medium`) to 2 times
    (`light`) as fast; where TensorFlow computes on the same two cores, an epoch takes equally long by both. More
    cores were not at hand to measure. Copying photos that are ready is too little work to be sent to another process.
    """
    return cores > 1 and config.augment.policy != "none" and not config.augment.cache_views


class Feeder:
    """The processes of one training; they start with the first plan that needs them, and end with `close`.

    `batch` may be called by any thread. Values do not depend on the number of processes, nor on what becomes of them:
    where one is killed, its share is done in this process from then on, with one warning.
    Shared memory: as many batches as `batches_held` says, and two, of the training's largest images; taken when used.
    """

    def __init__(self, config: TrainConfig, *, cores: int, nursery: Nursery | None) -> None:
        """cores: the training's. nursery: whose workers to use; None: one of this object's own, where it needs one."""
        self._processes = cores if feeds_by_processes(config, cores=cores) else 0
        largest_px = max(config.stage_image_size(stage) for stage in range(len(config.stages)))
        self._batch_bytes = config.batch_size * pixels_bytes(1, largest_px)
        self._given = nursery
        self._own: Nursery | None = None
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        """Workers without a task; None stands for one that is gone."""
        self._slots: _Slots | None = None

    def plan(self, plan: EpochPlan) -> Plan:
        """The same batches, made by the processes where these are faster."""
        if not self._processes:
            return plan
        if self._slots is None:
            self._slots = _Slots(batches_held(self._processes) + _SPARE, self._batch_bytes)
            self._start(self._slots)
        return _FedPlan(plan, self)

    def batch(self, plan: EpochPlan, number: int) -> Batch:
        """`plan.batch(number)`; blocks until a process has made it. Raises what that raises."""
        worker, made = self._idle.get(), None
        try:
            if worker is not None:
                made = worker.batch(plan, number)
        except (EOFError, OSError) as error:
            _log.warning("%s is gone (%r): this process prepares its share of the batches from now on", worker, error)
            worker = None
        finally:
            self._idle.put(worker)
        return plan.batch(number) if made is None else made

    def close(self) -> None:
        """Ends the processes, each after the batch in its hands. Batches that were handed out stay as they are."""
        for worker in [self._idle.get() for _ in range(self._processes)] if self._slots else []:
            if worker is not None:
                worker.close()
            self._idle.put(None)  # a task that is still to come is done by its own thread
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
            workers += [_Worker(self._nursery().worker(slots.descriptor), slots) for _ in range(self._processes)]
        except OSError as error:
            _log.warning("no process can be started to prepare batches (%s): threads do it", error)
            workers += [None] * self._processes
        for worker in workers:
            self._idle.put(worker)

    def _nursery(self) -> Nursery:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = Nursery.spawned()
        return self._own


@dataclass(frozen=True, eq=False)
class _FedPlan:
    """A plan whose batches processes make."""

    plan: EpochPlan
    feeder: Feeder

    @property
    def batch_count(self) -> int:
        return self.plan.batch_count

    def batch(self, number: int) -> Batch:
        return self.feeder.batch(self.plan, number)


class _Worker:
    """The trainer's end of one worker; one thread at a time."""

    def __init__(self, trainer_end: socket.socket, slots: "_Slots") -> None:
        self._connection = Connection(trainer_end.detach())
        self._slots = slots
        self._plan: EpochPlan | None = None
        self._pid: int | None = None

    def __str__(self) -> str:
        return "a feeding process" if self._pid is None else f"feeding process {self._pid}"

    def batch(self, plan: EpochPlan, number: int) -> Batch | None:
        """The batch; None where there is no room, or where the worker could not make it. Raises EOFError, OSError."""
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
        """The worker reads the end, and goes."""
        self._connection.close()

    def _ask(self, plan: EpochPlan, number: int, offset: int) -> Done | None:
        packed = None if plan is self._plan else pack_plan(plan)
        self._connection.send_bytes(pickle.dumps(Task(packed, number, offset)))
        self._plan = plan
        self._pid, done = pickle.loads(self._connection.recv_bytes())  # noqa: S301 - from our own worker
        return done


class _Slots:
    """Memory for a fixed number of batches, shared with the workers: a memfd, because /dev/shm is small in containers.

    A slot is free again when the array in it, and all that was derived from it without a copy, is gone. So nothing is
    copied, and a framework that keeps the array in place of a copy, as JAX does on CPUs, keeps what it saw.
    """

    def __init__(self, count: int, slot_bytes: int) -> None:
        self._slot_bytes = -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self.descriptor = os.memfd_create("carcls-batches")
        weakref.finalize(self, os.close, self.descriptor)
        os.ftruncate(self.descriptor, count * self._slot_bytes)
        self._memory = mmap.mmap(self.descriptor, count * self._slot_bytes)
        self._free = deque(range(count))  # atomic on both ends: a finalizer may run at any moment, in any thread

    def take(self) -> int | None:
        """A free slot, or None."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    def offset(self, slot: int) -> int:
        """Where it begins, in bytes."""
        return slot * self._slot_bytes

    def array(self, slot: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The photos in it, uint8; the slot is given back when they go."""
        flat = np.frombuffer(self._memory, np.uint8, int(np.prod(shape)), self.offset(slot))
        weakref.finalize(flat, self._free.append, slot).atexit = False
        return flat.reshape(shape)  # a view, which keeps `flat`
