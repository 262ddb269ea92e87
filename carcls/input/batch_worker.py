"""A worker process and its messages. The trainer sends the epoch's plan once, then the number of each batch."""

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

from carcls.input.batch_worker_server import run_server
from carcls.input.epoch_plan import EpochPlan


@dataclass(frozen=True, slots=True)
class Task:
    """One batch to prepare."""

    plan: bytes | None
    """The packed plan, or None if it is the same as in the previous task."""
    number: int
    offset: int
    """Offset of the photos in the shared memory, in bytes."""


@dataclass(frozen=True, slots=True)
class Done:
    """Result of a task. The photos are in shared memory."""

    shape: tuple[int, ...]
    """Shape of the photos."""
    y: NDArray[np.float32]


Reply = tuple[int, Done | None]
"""The worker's process id, and the result, or None if the worker could not prepare the batch."""


def server_main(control: int) -> None:
    """Main function of a spawned server. control: file descriptor of its socket."""
    run_server(socket.socket(fileno=control), serve)


def serve(trainer: socket.socket, memory: int) -> None:
    """Main loop of a worker: prepares requested batches until the trainer is gone."""
    connection = Connection(trainer.detach())
    room = np.frombuffer(mmap.mmap(memory, os.fstat(memory).st_size), np.uint8)
    plan: EpochPlan | None = None
    while True:
        try:
            task: Task = pickle.loads(connection.recv_bytes())  # noqa: S301 - from our own process, on our socket
        except (EOFError, OSError):
            return
        done = None
        # On any error the trainer gets None, prepares the batch itself and raises the original error.
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
    """Pickles a plan for workers. Memory maps are passed by file name, so that no pixels are copied."""
    buffer = io.BytesIO()
    _Packer(buffer).dump(plan)
    return buffer.getvalue()


class _Packer(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - pickle's signature
        # A slice of a map is also a memmap, but with the whole map's offset. Only a whole map's base is an mmap.
        if isinstance(obj, np.memmap) and obj.filename is not None and isinstance(obj.base, mmap.mmap):
            return _mapped, (str(obj.filename), obj.dtype, obj.offset, obj.shape)
        return NotImplemented


def _mapped(name: str, dtype: "np.dtype[Any]", offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.asarray(np.memmap(name, dtype, "r", offset=offset, shape=shape))
