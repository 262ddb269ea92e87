"""The limit that no feeding can pass: albumentations alone, in memory, on all cores. Brings no TensorFlow."""

import multiprocessing
import threading
import time
from collections.abc import MutableSequence, Sequence
from multiprocessing import shared_memory
from multiprocessing.synchronize import Barrier

import albumentations as A  # noqa: N812  # the name that every example of albumentations uses
import numpy as np
from numpy.typing import NDArray

from benchmarks.policies import transforms


class Limit:
    """Albumentations alone over photos in memory, outputs written to memory, one Compose per worker.

    The processes are started once, before TensorFlow has threads in this one, and wait between rounds.
    """

    def __init__(self, pixels: NDArray[np.uint8], policy: str, *, workers: int) -> None:
        self._policy = policy
        self._parts = np.array_split(np.arange(len(pixels)), workers)
        self._photos = shared_memory.SharedMemory(create=True, size=pixels.nbytes)
        self._out = shared_memory.SharedMemory(create=True, size=pixels.nbytes)
        self._shape = pixels.shape
        _array(self._photos, self._shape)[:] = pixels
        _array(self._out, self._shape)[:] = 0  # the pages exist before any clock runs
        self._composes = [A.Compose(transforms(policy)) for _ in self._parts]
        context = multiprocessing.get_context("spawn")
        self._barrier = context.Barrier(workers + 1)
        self._laps = [context.RawArray("d", 2) for _ in self._parts]
        self._processes = [
            context.Process(
                target=_work,
                args=((self._photos.name, self._out.name), self._shape, policy, part),
                kwargs={"barrier": self._barrier, "lap": lap},
                daemon=True,
            )
            for part, lap in zip(self._parts, self._laps, strict=True)
        ]
        for process in self._processes:
            process.start()

    def in_threads(self) -> float:
        """Images/s."""
        photos, out = _array(self._photos, self._shape), _array(self._out, self._shape)
        workers = [
            threading.Thread(target=_augment, args=(compose, photos, out, part))
            for compose, part in zip(self._composes, self._parts, strict=True)
        ]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return self._shape[0] / (time.perf_counter() - started)

    def in_processes(self) -> float:
        """Images/s."""
        self._barrier.wait()
        self._barrier.wait()
        # By the processes' own clocks, which are one: this process may be woken only when they are half through.
        started, ended = zip(*self._laps, strict=True)
        return self._shape[0] / (max(ended) - min(started))

    def close(self) -> None:
        """Ends the processes and frees the memory."""
        for process in self._processes:
            process.terminate()
            process.join()
        for memory in (self._photos, self._out):
            memory.close()
            memory.unlink()


def _augment(compose: A.Compose, photos: NDArray[np.uint8], out: NDArray[np.uint8], part: Sequence[int]) -> None:
    for index in part:
        out[index] = compose(image=photos[index])["image"]


def _work(
    names: tuple[str, str],
    shape: tuple[int, ...],
    policy: str,
    part: NDArray[np.int64],
    *,
    barrier: Barrier,
    lap: MutableSequence[float],
) -> None:
    photos, out = (shared_memory.SharedMemory(name=name) for name in names)
    compose = A.Compose(transforms(policy))
    while True:
        barrier.wait()
        lap[0] = time.perf_counter()
        _augment(compose, _array(photos, shape), _array(out, shape), part)
        lap[1] = time.perf_counter()
        barrier.wait()


def _array(memory: shared_memory.SharedMemory, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.ndarray(shape, np.uint8, buffer=memory.buf)
