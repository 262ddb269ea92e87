"""A trainer to be killed, with two workers that never finish. Prints the ids of its processes."""

import os
import pickle
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from carcls.augment.mixing import Mixing
from carcls.input.batch_worker import Task, pack_plan, serve
from carcls.input.batch_worker_server import BatchWorkerServer
from carcls.input.epoch_plan import EpochPlan


def main(start: str) -> None:
    batch_server = BatchWorkerServer.forked(serve) if start == "forked" else BatchWorkerServer.spawned()
    memory = os.memfd_create("batches")
    os.ftruncate(memory, 2**20)
    plan = EpochPlan(
        pixels=np.zeros((4, 32, 32, 3), np.uint8),
        labels=np.zeros(4, np.int64),
        order=np.arange(4),
        views=np.arange(4),
        class_count=2,
        batch_size=4,
        policy="light",
        view_seed=0,
        mixing=Mixing(0.0, 0.0, seed=0, epoch=0),
    )
    workers = [Connection(batch_server.worker(memory).detach()) for _ in range(2)]
    pids = []
    for worker in workers:
        worker.send_bytes(pickle.dumps(Task(pack_plan(plan), 0, 0)))
        pid, done = pickle.loads(worker.recv_bytes())  # noqa: S301 - our own
        assert done.shape == plan.pixels.shape
        pids.append(pid)
    print(*pids, parent_of(pids[0]), flush=True)  # noqa: T201 - the test reads it
    for worker in workers:  # as many tasks as the socket holds, so that the kill comes in the middle
        for _ in range(50):
            worker.send_bytes(pickle.dumps(Task(None, 0, 0)))
    time.sleep(600)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


if __name__ == "__main__":
    main(sys.argv[1])
