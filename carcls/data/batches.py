"""(photos, epoch) -> one immutable dataset of that epoch's batches, prepared ahead of the training step, in order."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig
from carcls.data.augment import view as augmented_view
from carcls.data.mixing import Batch, Mixing
from carcls.data.sampling import balanced_order, plain_order
from carcls.data.source import TrainingData

_AHEAD = 3
"""Batches prepared ahead of the one asked for: enough to even out slow batches, little memory."""
_BEHIND = 2
"""Batches kept behind it: Keras reads the first two to learn their shapes, then starts again at the first."""


def view_numbers(showings: NDArray[np.int64], views: int) -> NDArray[np.int64]:
    """The view of a photo that was shown so many times before: that number mod views, or itself where views is 0.

    Where every epoch shows every photo once, it is the epoch (0-based, over all stages) mod views.
    """
    return showings % views if views else showings


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """Which photo stands where in one epoch, and as which view. `batch` is pure and may be called by any thread."""

    pixels: NDArray[np.uint8]
    """(n, size, size, 3); never written to."""
    labels: NDArray[np.int64]
    """(n,)"""
    order: NDArray[np.int64]
    """(n,) rows of `pixels` and `labels`; with balanced sampling some come more than once and some not at all."""
    views: NDArray[np.int64]
    """(n,) the view in which each of them is seen."""
    class_count: int
    batch_size: int
    policy: str
    view_seed: int
    mixing: Mixing

    @property
    def batch_count(self) -> int:
        """The fewest batches of at most `batch_size` photos."""
        return -(-len(self.order) // self.batch_size)

    def batch(self, number: int) -> Batch:
        """Photos uint8 (b, size, size, 3) and their labels float32 (b, class_count): one-hot, or shared if mixed."""
        # Shared out evenly: a last batch of one photo would be a full step of its own, and without variance.
        count, batches = len(self.order), self.batch_count
        places = slice(number * count // batches, (number + 1) * count // batches)
        photos = self.order[places]
        y = np.zeros((len(photos), self.class_count), np.float32)
        y[np.arange(len(photos)), self.labels[photos]] = 1.0
        return self.mixing.apply((self._seen(photos, self.views[places]), y), number)

    def _seen(self, photos: NDArray[np.int64], views: NDArray[np.int64]) -> NDArray[np.uint8]:
        """New uint8 (b, size, size, 3): photos (b,) in the views (b,) asked for."""
        if self.policy == "none":
            return self.pixels[photos]
        x = np.empty((len(photos), *self.pixels.shape[1:]), np.uint8)
        for row, (photo, view) in enumerate(zip(photos.tolist(), views.tolist(), strict=True)):
            x[row] = augmented_view(self.policy, self.pixels[photo], seed=self.view_seed, view=view, index=photo)
        return x


class EpochBatches(keras.utils.PyDataset):
    """The batches of one epoch: as many photos as there are, in an order that (seed, epoch) fix.

    Use one object per epoch, with `fit(..., shuffle=False)`: Keras otherwise shuffles the order of the batches with
    Python's global generator. x: uint8 (b, size, size, 3), 0..255; y: float32 (b, class_count), rows summing to 1.
    Batches are prepared ahead by threads of this object; their number changes no value. The threads end when
    the last batch is on its way, or when the object goes. Close it after the epoch.
    """

    def __init__(self, plan: EpochPlan, *, threads: int = 1) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.plan: EpochPlan | None = plan
        self._count = plan.batch_count
        self._threads = threads
        self._lock = threading.Lock()
        self._pending: dict[int, Future[Batch]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Lets go of pixels and prepared batches: Keras on TensorFlow keeps every dataset that it ever read."""
        with self._lock:
            self.plan = None
            self._pending.clear()

    def __getitem__(self, number: int) -> Batch:
        """Batch `number`; blocks until it is ready. Raises IndexError past the end, ValueError once closed."""
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number} of an epoch of {len(self)}")
        with self._lock:
            self._drop_far(number)
            for ahead in range(number, min(number + 1 + _AHEAD, len(self))):
                self._submit(ahead)
            future = self._pending[number]
        return future.result()

    def _drop_far(self, number: int) -> None:
        for far in [n for n in self._pending if not number - _BEHIND <= n <= number + _AHEAD]:
            self._pending.pop(far).cancel()

    def _submit(self, number: int) -> None:
        if number in self._pending:
            return
        if self.plan is None:
            raise ValueError("this epoch's batches are closed: make new ones by training_batches")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="batches")
        # The plan's method, not one of this object: a task must not keep alive the object whose end stops it.
        self._pending[number] = self._pool.submit(self.plan.batch, number)
        if number == len(self) - 1:  # nothing left to ask for: the threads end when they are through
            self._pool.shutdown(wait=False)
            self._pool = None


def training_batches(
    data: TrainingData, config: TrainConfig, *, epoch: int, size_px: int, threads: int = 1
) -> EpochBatches:
    """The training batches of one epoch (0-based, over all stages), photos at size_px. Raises DataError."""
    labels, augment = data.split.train.labels, config.augment
    if config.class_balance == "sampling":
        order = balanced_order(labels, seed=config.seed, epoch=epoch)
    else:
        order = plain_order(len(labels), seed=config.seed, epoch=epoch)
    plan = EpochPlan(
        pixels=data.pixels("train", size_px),
        labels=labels,
        order=order.photos,
        views=view_numbers(order.showings, augment.views),
        class_count=len(data.split.class_names),
        batch_size=config.batch_size,
        policy=augment.policy,
        view_seed=data.view_seed,
        mixing=Mixing(augment.mixup, augment.cutmix, seed=config.seed, epoch=epoch),
    )
    return EpochBatches(plan, threads=threads)
