"""(photos, epoch) -> one immutable dataset of that epoch's batches, prepared ahead of the training step, in order."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig
from carcls.data.augment import check_policy
from carcls.data.augment import view as augmented_view
from carcls.data.mixing import Mixing
from carcls.data.pixels import Pixels
from carcls.data.sampling import balanced_order, plain_order
from carcls.data.source import TrainingData

Batch = tuple[NDArray[Any], NDArray[np.float32]]
"""What the model sees, and labels float32 (b, classes), each row summing to 1."""

_AHEAD = 3
"""Batches prepared ahead of the one asked for: enough to even out slow batches, little memory."""
_BEHIND = 2
"""Batches kept behind it: Keras reads the first two to learn their shapes, then starts again at the first."""


def view_numbers(showings: NDArray[np.int64], views: int) -> NDArray[np.int64]:
    """The view of a photo that was shown so many times before: that number mod views, or itself where views is 0.

    Where every epoch shows every photo once, it is the epoch (0-based, over all stages) mod views.
    """
    return showings % views if views else showings


def batch_places(number: int, *, photos: int, batch_size: int) -> slice:
    """Where batch `number` of an epoch stands in the epoch's order.

    Shared out evenly: a last batch of one photo would be a full step of its own, and without variance.
    """
    batches = batch_count(photos, batch_size)
    return slice(number * photos // batches, (number + 1) * photos // batches)


def batch_count(photos: int, batch_size: int) -> int:
    """The fewest batches of at most `batch_size` photos."""
    return -(-photos // batch_size)


def one_hot(labels: NDArray[np.int64], class_count: int) -> NDArray[np.float32]:
    """Labels (n,) -> float32 (n, class_count)."""
    return np.eye(class_count, dtype=np.float32)[labels]


class Plan(Protocol):
    """What one epoch consists of. `batch` is pure and may be called by any thread."""

    @property
    def batch_count(self) -> int:
        """Batches of the epoch."""

    def batch(self, number: int) -> Batch:
        """Batch `number`, counted from 0; new arrays."""


@dataclass(frozen=True, eq=False)
class ArrayPlan:
    """An epoch of examples that are ready and in order."""

    x: NDArray[Any]
    """(n, ...)"""
    y: NDArray[np.float32]
    """(n, classes)"""
    batch_size: int

    @property
    def batch_count(self) -> int:
        """The fewest batches of at most `batch_size` examples."""
        return batch_count(len(self.x), self.batch_size)

    def batch(self, number: int) -> Batch:
        """Rows of x and y."""
        places = batch_places(number, photos=len(self.x), batch_size=self.batch_size)
        return self.x[places], self.y[places]


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """Which photo stands where in one epoch, and as which view. `batch` is pure and may be called by any thread."""

    pixels: Pixels
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
        return batch_count(len(self.order), self.batch_size)

    def batch(self, number: int) -> Batch:
        """Photos uint8 (b, size, size, 3) and their labels float32 (b, class_count): one-hot, or shared if mixed."""
        places = batch_places(number, photos=len(self.order), batch_size=self.batch_size)
        photos = self.order[places]
        y = one_hot(self.labels[photos], self.class_count)
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
    Python's global generator. x: photos uint8 (b, size, size, 3), 0..255, or what else the plan makes of them; y:
    float32 (b, class_count), rows summing to 1.
    Batches are prepared ahead by threads of this object; their number changes no value. The threads end when
    the last batch is on its way, or when the object goes. Close it after the epoch.
    """

    def __init__(self, plan: Plan, *, threads: int = 1) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.plan: Plan | None = plan
        self.delivered_s: dict[int, float] = {}
        """When a batch was last handed over, by its number, on the clock of `time.perf_counter`."""
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
        batch = future.result()
        self.delivered_s[number] = time.perf_counter()
        return batch

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
    """The training batches of one epoch (0-based, over all stages), photos at size_px.

    Raises DataError, and ConfigError where the policy is a file that cannot be one.
    """
    check_policy(config.augment.policy)
    augment = config.augment
    photos, views = epoch_order(config, data, epoch)
    plan = EpochPlan(
        pixels=data.pixels("train", size_px),
        labels=data.split.train.labels,
        order=photos,
        views=views,
        class_count=len(data.split.class_names),
        batch_size=config.batch_size,
        policy=augment.policy,
        view_seed=data.view_seed,
        mixing=Mixing(augment.mixup, augment.cutmix, seed=config.seed, epoch=epoch),
    )
    return EpochBatches(plan, threads=threads)


def epoch_order(config: TrainConfig, data: TrainingData, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which photos an epoch (0-based, over all stages) shows, in order, and in which view each: (n,) and (n,)."""
    labels = data.split.train.labels
    if config.class_balance == "sampling":
        order = balanced_order(labels, seed=config.seed, epoch=epoch)
    else:
        order = plain_order(len(labels), seed=config.seed, epoch=epoch)
    return order.photos, view_numbers(order.showings, config.augment.views)
