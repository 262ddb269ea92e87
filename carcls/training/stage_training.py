"""One stage of a training run: its compiled model, optimizer and rates, and training for one epoch. Decides nothing."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.backend import devices, replicas
from carcls.config import StageConfig, TrainConfig
from carcls.input.prefetch import EpochBatches
from carcls.training.checkpoint import optimizer_variables
from carcls.training.epoch_parts import (
    NOT_BEGUN,
    BegunEpoch,
    PauseCallback,
    RestOfEpoch,
    batches_done,
    metric_values,
    running_metrics,
    step_ends,
    steps_before,
)
from carcls.training.steps.constant_batches import ConstantBatches
from carcls.training.steps.gradient_accumulation import accumulate_gradients, begin_at, wrapped_optimizer
from carcls.training.steps.losses import training_loss
from carcls.training.steps.micro_batches import Accumulation, MicroBatches
from carcls.training.steps.optimizers import RateTable, assign, average_weights, holding, make_optimizer
from carcls.training.steps.schedules import plateau_factor, rates
from carcls.training.steps.stage_model import StageModel
from carcls.training.steps.step_clock import StepClock
from carcls.training.steps.weight_averages import WeightAverages


@dataclass(frozen=True, slots=True)
class Trained:
    """Results of training for one epoch."""

    loss: float
    """Mean over examples at the time of their step, with class weights and the head's L2 penalty."""
    accuracy: float
    learning_rate: float
    """Rate of the last step."""
    clock: StepClock
    ready_s: Mapping[int, float]
    """Step number -> time at which its batch was prepared, on the clock's scale."""
    batches: int
    """Whole batches of the epoch that are done: fewer than all after a pause. `loss` and `accuracy` concern them all,
    `clock` and `ready_s` those since the pause before."""
    metrics: tuple[NDArray[Any], ...]
    """Values of the running metrics after a pause; empty after the whole epoch."""


class StageTraining:
    """Trains `model` with a fresh optimizer. Not thread-safe."""

    averages: WeightAverages | None
    """Averages of the stage's weights, if requested for a recording."""
    fill: int | None
    """Size to which batches or their parts are filled, or None if all have the same size."""

    def __init__(
        self,
        config: TrainConfig,
        stage: StageConfig,
        inner: keras.Model,
        *,
        depths: Mapping[int, int] | None,
        class_counts: NDArray[np.int64],
        steps_per_epoch: int,
        cut: Accumulation | None,
        fill: int | None,
    ) -> None:
        """Compiles. inner: the classifier, or its head alone, with what the stage trains set to be trainable.

        depths: id of a variable -> its depth below the head, for `layer_decay`, or None for equal rates. class_counts:
        (classes,) number of training photos per class. steps_per_epoch: number of whole batches, with or without `cut`.
        cut: how batches are split into parts, or None. fill: size to which batches or their parts are filled, or None
        if all have the same size.
        """
        self._stage = stage
        self._rates = rates(stage, steps_per_epoch)
        self._cut, self.fill = cut, fill
        self.averages = None
        self.model = StageModel(inner, has_empty_rows=fill is not None)
        fixed = stage.schedule.kind == "plateau"
        optimizer = make_optimizer(
            config.optimizer,
            stage.learning_rate if fixed else RateTable(self._rates),
            self.model.trainable_variables,
            factors=self._rate_factors(config.layer_decay, depths),
            ema=config.ema,
        )
        own_optimizer = optimizer
        if config.optimizer.clip_norm is not None:
            replicas.clip_whole_gradients(optimizer)
        if cut is not None:
            optimizer = accumulate_gradients(optimizer, cut, self.model.dtype_policy.name)
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
        self.model.compile(
            optimizer=optimizer,
            loss=training_loss(config, class_counts),
            # An object, not a name: Keras would create the metric's variables in the first traced step and retrace it.
            weighted_metrics=[accuracy],
            jit_compile="auto",
            auto_scale_loss=cut is None,  # otherwise `accumulate_gradients` does it
        )
        self._running = running_metrics(self.model, accuracy)
        replicas.check_whole_gradients(self.model.optimizer)
        gc.collect()  # the previous stage's optimizer, which is part of reference cycles
        # Now and not in the first step, so that a checkpoint can be restored into the variables.
        self.model.optimizer.build(self.model.trainable_variables)
        self._moving = average_weights(own_optimizer)
        """The optimizer's moving averages of the trainable variables; empty without EMA."""

    def _rate_factors(self, decay: float, depths: Mapping[int, int] | None) -> list[float] | None:
        """For each trainable variable."""
        return None if depths is None else [decay ** depths.get(id(one), 0) for one in self.model.trainable_variables]

    @contextmanager
    def scored_weights(self) -> Iterator[None]:
        """Within the block the model has the weights that are scored and kept: with EMA the averages."""
        with holding(self.model.trainable_variables if self._moving else [], self._moving):
            yield

    def end(self) -> None:
        """Replaces the weights by their averages, if there are any, so that the next stage starts from them."""
        if self._moving:
            assign(self.model.trainable_variables, self._moving)

    @property
    def has_random_layers(self) -> bool:
        """True if the stage trains with dropout or similar layers."""
        weights = {id(variable) for variable in self.model.weights}
        return any(id(variable) not in weights for variable in self.model.variables)

    @property
    def trainable_parameters(self) -> int:
        """Number of scalars that the stage trains."""
        return sum(int(np.prod(variable.shape)) for variable in self.model.trainable_variables)

    @property
    def optimizer_variables(self) -> dict[str, keras.Variable]:
        """By checkpoint key."""
        return optimizer_variables(wrapped_optimizer(self.model.optimizer))

    def train_epoch(
        self,
        batches: EpochBatches,
        log_losses: Sequence[float],
        begun: BegunEpoch = NOT_BEGUN,
        is_due: Callable[[], bool] = lambda: False,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> Trained:
        """Trains on one epoch's batches, or on the rest of a begun epoch. log_losses: validation log-losses of the
        stage's epochs so far.

        is_due: asked before each step; once True, training pauses at the end of that batch. callbacks: others for
        `fit`. Raises PartError if `begun` is no part of this epoch.
        """
        peak = self._stage.learning_rate * plateau_factor(self._stage.schedule, log_losses)
        if self._stage.schedule.kind == "plateau":
            self.model.optimizer.learning_rate = peak
            last_rate = peak
        else:
            last_rate = float(self._rates[(len(log_losses) + 1) * len(batches) - 1])
        shown = batches if self._cut is None else MicroBatches(batches, self._cut)
        if self.fill is not None:
            shown = ConstantBatches(shown, self.fill)
        ends = step_ends(self._cut, len(batches))
        first = steps_before(ends, begun.batches)
        if first:
            shown = RestOfEpoch(shown, first)
            begin_at(self.model.optimizer, first)
        clock = StepClock()
        pause = PauseCallback(self.model, first, ends, is_due, running=self._running, metrics=begun.metrics)
        own = [clock, pause, *([self.averages] if self.averages else [])]
        history = self.model.fit(
            devices.fit_input(shown), epochs=1, shuffle=False, verbose=0, callbacks=[*own, *callbacks]
        ).history
        if self.averages and pause.steps == len(ends):
            self.averages.end_epoch()
        ready_s = dict(batches.ready_s) if self._cut is None else self._cut.by_step(batches.ready_s)
        loss = history["loss" if self.fill is None else "example_loss"]
        return Trained(
            float(loss[0]),
            float(history["accuracy"][0]),
            last_rate,
            clock,
            {step - first: at_s for step, at_s in ready_s.items()},
            batches_done(ends, pause.steps),
            # On several devices TensorFlow has no single value of them, and no pause.
            metric_values(self._running) if pause.steps < len(ends) else (),
        )
