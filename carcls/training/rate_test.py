"""A learning-rate range test of each stage of a training; see `find_rates`. Nothing is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from carcls.backend.replicas import replica_count
from carcls.config import ScheduleConfig, TrainConfig
from carcls.input.feeder import Feeder
from carcls.input.training_data import TrainingData
from carcls.models.weights import resolve_weights
from carcls.training.fine_tuning import class_counts, stage_input
from carcls.training.learner import Learner
from carcls.training.stage_errors import naming_out_of_memory
from carcls.training.stage_input import StageInput
from carcls.training.steps.constant_batches import stage_fill
from carcls.training.steps.rate_range import has_diverged, suggested_rate

_SET_BY_HAND = ScheduleConfig(kind="plateau", drops=())
"""Sets no rate itself, so that each step's rate can be assigned, and traces no table of rates."""


@dataclass(frozen=True, slots=True)
class StageRates:
    """The range test of one stage."""

    stage: str
    rates: tuple[float, ...]
    """Of the steps that were trained, rising."""
    losses: tuple[float, ...]
    """Of each step's batch, before the step; the last may be NaN."""
    diverged: bool
    """Whether the test ended before its last rate."""
    suggestion: float | None
    """None if the loss never clearly fell."""
    configured: float
    """The stage's own rate."""
    image_size: int | str
    """Its photos, see `TrainConfig.stage_image_size`."""
    batch_size: int
    """Its photos per step."""

    @property
    def batches(self) -> str:
        """Its batches in words."""
        return f"batches of {self.batch_size} at {self.image_size} px"


def find_rates(
    config: TrainConfig,
    data: TrainingData,
    rates: Sequence[float],
    on_stage: Callable[[StageRates], None] = lambda _: None,
) -> tuple[StageRates, ...]:
    """Trains each stage with one step at each of the rising `rates` until its loss diverges, and suggests a rate.

    A stage starts from the weights that the earlier ones left. To get there cheaply, each earlier stage is trained
    after its test, from its own starting point, for as many steps as `rates` at most, at its own rate or at the
    suggested one if that is lower. The step is traced once for both. Only as many training photos take part as these
    steps need, drawn by the configuration's seed; validation photos do not. on_stage: called after each stage.

    Raises WeightsError, DataError, ValueError for fewer than two rates, and OutOfMemoryError, which names the stage.
    """
    if len(rates) < 2:
        raise ValueError(f"expected two rates or more, found {len(rates)}")
    counts = class_counts(data)
    by_hand = tuple(stage.model_copy(update={"schedule": _SET_BY_HAND}) for stage in config.stages)
    config = config.model_copy(update={"stages": by_hand})
    learner, found, epoch = Learner(config, class_counts=counts, weights=resolve_weights(config)), [], 0
    with Feeder(config, cores=data.processes, batch_server=data.batch_server) as feeder:
        for number, stage in enumerate(config.stages):
            batch_size = config.stage_batch_size(number)
            some = _some(data, batch_size * len(rates), batch_size, seed=config.seed)
            photos = len(some.split.train)
            fill = stage_fill(config, number, None, photos=photos, devices=replica_count())
            with naming_out_of_memory(config, number, None):
                learner.enter_stage(number, steps_per_epoch=max(1, photos // batch_size), fill=fill)
                batches = stage_input(config, some, learner, number=number, backbone=None, feeder=feeder, at_once=None)
                start = {**learner.model_arrays(), **learner.optimizer_arrays()}
                tested = _Steps(rates, ends_at_divergence=True)
                epoch = _train(learner, batches, tested, epoch)
                found.append(_judged(config, number, tested))
                on_stage(found[-1])
                if number + 1 < len(config.stages):
                    learner.restore(start, with_optimizer=True)
                    rate = min(stage.learning_rate, found[-1].suggestion or stage.learning_rate)
                    steps = min(len(rates), stage.epochs * -(-len(data.split.train) // batch_size))
                    epoch = _train(learner, batches, _Steps([rate] * steps, ends_at_divergence=False), epoch)
                    learner.stage.end()
    return tuple(found)


def _judged(config: TrainConfig, number: int, tested: "_Steps") -> StageRates:
    stage = config.stages[number]
    return StageRates(
        stage=stage.name,
        rates=tuple(tested.used),
        losses=tuple(tested.losses),
        diverged=len(tested.losses) < tested.planned or has_diverged(tested.losses),
        suggestion=suggested_rate(tested.used, tested.losses),
        configured=stage.learning_rate,
        image_size=config.stage_image_size(number),
        batch_size=config.stage_batch_size(number),
    )


def _some(data: TrainingData, most: int, batch_size: int, *, seed: int) -> TrainingData:
    """Data with at most so many training photos, in whole batches if there is one."""
    table = data.split.train
    count = min(len(table), most)
    count = count // batch_size * batch_size or count
    rows = np.sort(np.random.default_rng(seed).permutation(len(table))[:count])
    return replace(data, split=replace(data.split, train=table.select(rows)))


def _train(learner: Learner, photos: StageInput, steps: "_Steps", epoch: int) -> int:
    """Trains until the steps are done. Returns the number of the next epoch, whose order and views are others."""
    while not steps.are_done:
        batches = photos.training(epoch)
        with batches.own_errors():
            learner.stage.train_epoch(batches, (), callbacks=(steps,))
        batches.close()
        epoch += 1
    return epoch


class _Steps(keras.callbacks.Callback):
    """Sets the rate of each step, keeps its loss, and ends `fit` when the steps are done."""

    def __init__(self, rates: Sequence[float], *, ends_at_divergence: bool) -> None:
        super().__init__()
        self.planned = len(rates)
        self.losses: list[float] = []
        self._rates = rates
        self._ends_at_divergence = ends_at_divergence
        self._has_diverged = False
        self._sum = 0.0
        """Of the losses of this epoch so far."""

    @property
    def used(self) -> list[float]:
        """Rates of the steps so far."""
        return [float(rate) for rate in self._rates[: len(self.losses)]]

    @property
    def are_done(self) -> bool:
        """Whether no step is left."""
        return self._has_diverged or len(self.losses) >= self.planned

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ANN401 - Keras's own
        """Called by Keras once it has set its metrics to zero."""
        self._sum = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ANN401 - Keras's own
        """Called by Keras before each step."""
        if hasattr(self.model, "jax_state_sync"):
            # Between steps JAX's variables have no values, and would get the former rate back.
            self.model.jax_state_sync()
        self.model.optimizer.learning_rate = float(self._rates[len(self.losses)])

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Called by Keras after each step. Its loss is the mean since the epoch's start."""
        told = logs or {}
        total = float(told["example_loss" if "example_loss" in told else "loss"]) * (batch + 1)
        self.losses.append(total - self._sum)
        self._sum = total
        self._has_diverged = self._ends_at_divergence and has_diverged(self.losses)
        if self.are_done:
            self.model.stop_training = True
