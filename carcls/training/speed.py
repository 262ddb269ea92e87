"""How fast this process trains and predicts a configuration on generated photos, through `Learner` itself."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carcls.backend.replicas import replica_count
from carcls.config import TrainConfig
from carcls.frames import frame_of
from carcls.input.epoch_plan import Batch, one_hot
from carcls.input.prefetch import EpochBatches
from carcls.training.epoch import traced_s
from carcls.training.learner import Learner
from carcls.training.steps.constant_batches import filled_size

_TARGET_S = 3.0
"""Aim for the timed steps together."""
_FEWEST, _MOST = 3, 60
"""Timed steps, if their number is not given."""
_FIRST = 2
"""Steps before the timed ones: the first one compiles, the second shows how long the others take."""


@dataclass(frozen=True, slots=True)
class StepSpeed:
    """Speed of one configuration with photos at hand, without their preparation."""

    images_per_s: float
    """Training, by the median step."""
    forward_images_per_s: float
    """Prediction in batches of the same size, by the median batch."""
    build_s: float
    """Building the model and its optimizer."""
    compile_s: float
    """How much longer the first training step and the first prediction took than later ones."""
    epoch_s: float
    """Seconds of an epoch beside its steps."""
    steps: int
    """Timed steps."""


@dataclass(frozen=True, eq=False, slots=True)
class _SameBatch:
    """A plan of equal batches, which are already in memory."""

    made: Batch
    batch_count: int

    def batch(self, number: int) -> Batch:
        del number
        return self.made


def measure_steps(
    config: TrainConfig, *, classes: int, steps: int | None = None, ready: Callable[[], None] = lambda: None
) -> StepSpeed:
    """Trains and predicts generated photos in the first stage of `config`, whose schedule must be constant.

    The backbone is random. steps: timed steps; None: as many as take about three seconds. ready: called between the
    compilation and the timed part. Raises OutOfMemoryError or what the framework raises.
    """
    started = time.perf_counter()
    batch_size = config.stage_batch_size(0)
    learner = Learner(config, class_counts=np.full(classes, batch_size), weights=None)
    fill = filled_size([batch_size], devices=replica_count())
    learner.enter_stage(0, steps_per_epoch=max(_MOST, steps or 0), fill=fill)
    build_s = time.perf_counter() - started

    batch = _generated(config, classes)
    durations, _ = _epoch(learner, batch, _FIRST)
    compile_s = traced_s([(0.0, durations[0]), (0.0, durations[1])], {})
    started = time.perf_counter()
    learner.probabilities(batch[0])
    first_forward_s = time.perf_counter() - started
    count = steps or min(_MOST, max(_FEWEST, round(_TARGET_S / durations[-1])))
    ready()
    durations, epoch_s = _epoch(learner, batch, count)
    forwards = [_timed(lambda: learner.probabilities(batch[0])) for _ in range(count)]
    forward_s = statistics.median(forwards)
    return StepSpeed(
        images_per_s=batch_size / statistics.median(durations),
        forward_images_per_s=batch_size / forward_s,
        build_s=build_s,
        compile_s=compile_s + max(0.0, first_forward_s - forward_s),
        epoch_s=epoch_s,
        steps=count,
    )


def _generated(config: TrainConfig, classes: int) -> Batch:
    """Noise: a convolution takes as long for any photo."""
    rng, count = np.random.default_rng(0), config.stage_batch_size(0)
    pixels: NDArray[np.uint8] = rng.integers(0, 256, (count, *frame_of(config.stage_size(0)).shape), dtype=np.uint8)
    return pixels, one_hot(np.arange(count) % classes, classes)


def _epoch(learner: Learner, batch: Batch, steps: int) -> tuple[list[float], float]:
    """Seconds of each step of an epoch, and of the epoch beside them."""
    batches, started = EpochBatches(_SameBatch(batch, steps)), time.perf_counter()
    trained = learner.stage.train_epoch(batches, ())
    seconds = time.perf_counter() - started
    batches.close()
    durations = [end - begin for begin, end in trained.clock.steps]
    return durations, max(0.0, seconds - sum(durations))


def _timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started
