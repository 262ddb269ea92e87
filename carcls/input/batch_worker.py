"""What a worker does, and the words that it and its trainer exchange: a plan once, then numbers of batches."""

import contextlib
import io
import math
import mmap
import os
import pickle
import socket
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carcls.input.batch_worker_server import run_nursery
from carcls.input.epoch_plan import EpochPlan


@dataclass(frozen=True, slots=True)
class Task:
    """One batch to prepare."""

    plan: bytes | None
    """The packed plan; None: the one of the task before."""
    number: int
    offset: int
    """Where in the shared memory the photos go, in bytes."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task; the photos are in their place."""

    shape: tuple[int, ...]
    """Of the photos."""
    y: NDArray[np.float32]


Reply = tuple[int, Done | None]
"""The worker's process id, and None where it could not make the batch."""


def nursery_main(control: int) -> None:
    """Main function of a spawned nursery; `control` is the descriptor of its socket."""
    run_nursery(socket.socket(fileno=control), serve)


def serve(trainer: socket.socket, memory: int) -> None:
    """A worker's whole life: prepares the batches that it is asked for; ends when its trainer is gone."""
    connection = Connection(trainer.detach())
    room = np.frombuffer(mmap.mmap(memory, os.fstat(memory).st_size), np.uint8)
    plan: EpochPlan | None = None
    while True:
        try:
            task: Task = pickle.loads(connection.recv_bytes())  # noqa: S301 - from our own process, by our own socket
        except (EOFError, OSError):
            return
        done = None
        # Whatever is wrong: the trainer, told None, makes the batch itself and has the error first-hand.
        with contextlib.suppress(Exception):
            if task.plan is not None:
                plan = pickle.loads(task.plan)  # noqa: S301 - the same
            done = None if plan is None else _done(plan, task, room)
        reply: Reply = (os.getpid(), done)
        try:
            connection.send_bytes(pickle.dumps(reply))
        except OSError:
            return


def _done(plan: EpochPlan, task: Task, room: NDArray[np.uint8]) -> Done:
    shape = (plan.batch_size, *plan.pixels.shape[1:])
    x, y = plan.batch(task.number, room[task.offset :][: math.prod(shape)].reshape(shape))
    return Done(x.shape, y)


def pack_plan(plan: EpochPlan) -> bytes:
    """The plan as a worker reads it. Memory maps go by name: the worker maps the same file, and no pixel is copied."""
    buffer = io.BytesIO()
    _Packer(buffer).dump(plan)
    return buffer.getvalue()


class _Packer(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - as pickle has it
        # A slice of a map is a memmap too, with the offset of the whole: its base tells them apart.
        if isinstance(obj, np.memmap) and obj.filename is not None and isinstance(obj.base, mmap.mmap):
            return _mapped, (str(obj.filename), obj.dtype, obj.offset, obj.shape)
        return NotImplemented


def _mapped(name: str, dtype: "np.dtype[Any]", offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.asarray(np.memmap(name, dtype, "r", offset=offset, shape=shape))
