"""The model of one training run: builds, compiles, trains one epoch at a time, saves and restores. Decides nothing."""

import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.backend import devices, replicas
from carcls.config import StageConfig, TrainConfig
from carcls.frames import Size
from carcls.input.pixels import Pixels
from carcls.input.prefetch import EpochBatches
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.folding import fold_batch_norm
from carcls.models.freezing import depths_below_head, freezable_layers, set_statistics_momentum, set_trainable
from carcls.models.trunk_and_head import Parts, split
from carcls.training.checkpoint import model_variables, optimizer_variables, restore_variables, variable_arrays
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
from carcls.training.initial_weights import NOTHING_OMITTED, InitialWeights, Omitted
from carcls.training.steps.constant_batches import ConstantBatches
from carcls.training.steps.gradient_accumulation import accumulate_gradients, begin_at, wrapped_optimizer
from carcls.training.steps.losses import training_loss
from carcls.training.steps.micro_batches import Accumulation, MicroBatches
from carcls.training.steps.optimizers import RateTable, assign, average_weights, holding, make_optimizer
from carcls.training.steps.predictors import Predictors
from carcls.training.steps.schedules import plateau_factor, rates
from carcls.training.steps.stage_model import StageModel, use_whole_batches
from carcls.training.steps.step_clock import StepClock
from carcls.training.steps.weight_averages import WeightAverages, Weights


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


class Learner:
    """Owns model and optimizer. Weights persist through all stages; each stage has a fresh optimizer.

    A stage that trains no layer of the backbone trains only the head, on features (see `features`), as a small model
    that shares the variables. Not thread-safe. Call `enter_stage` first; other methods act on the current stage.
    """

    _stage: StageConfig
    _batch_size: int
    _rates: NDArray[np.float32]
    _cut: Accumulation | None
    _classifier: Classifier
    _parts: Parts
    _initial: InitialWeights
    _fill: int | None
    """Size to which batches, or their parts, are filled; None if all have the same size."""
    _trained: StageModel
    """Trains the classifier's model, or only its head."""
    _running: list[keras.Variable]
    """Of the metrics that `fit` keeps while it trains."""
    averages: WeightAverages | None
    """Averages of the current stage's weights, if requested for a recording."""
    _moving: list[keras.Variable]
    """The optimizer's moving averages of the trainable variables; empty without EMA."""
    _predictors: Predictors

    def __init__(self, config: TrainConfig, *, class_counts: NDArray[np.int64], weights: Path | None) -> None:
        """class_counts: (classes,) number of training photos per class."""
        self._config = config
        self._class_counts = class_counts
        self._weights = weights
        self._size_px: Size = 0
        self._is_folded = False
        self._momentum: float | None = None

    def enter_stage(
        self,
        number: int,
        *,
        steps_per_epoch: int,
        cut: Accumulation | None = None,
        fill: int | None = None,
        averages: bool = False,
    ) -> None:
        """Builds or rebuilds the model for the stage's image size and BatchNorm, freezes, and compiles with a fresh
        optimizer.

        steps_per_epoch: number of whole batches, with or without `cut`. cut: how batches are split into parts, or None.
        fill: size to which batches or their parts are filled, see `stage_fill`. averages: whether to record averages of
        the stage's weights.
        """
        stage, size_px = self._config.stages[number], self._config.stage_size(number)
        keeps_statistics = self._config.keeps_statistics(number)
        momentum = self._config.statistics_momentum(number)
        if (size_px, keeps_statistics, momentum) != (self._size_px, self._is_folded, self._momentum):
            self._rebuild(size_px, folded=keeps_statistics, momentum=momentum)
        set_trainable(self._classifier, stage.unfreeze, batch_norm=not keeps_statistics)
        self._initial.note_trainable(self._backbone_layers)
        self._stage, self._batch_size = stage, self._config.stage_batch_size(number)
        self._rates = rates(stage, steps_per_epoch)
        self._cut, self._fill = cut, fill
        self._predictors.enter_stage(self._batch_size if cut is None else cut.micro_batch)
        layers = [*self._classifier.model.layers, *self._classifier.backbone.layers]
        use_whole_batches(layers, has_empty_rows=fill is not None)
        with replicas.on_replicas():
            self._compile(cut)
        self.averages = WeightAverages(self._changing_weights) if averages else None

    def _compile(self, cut: Accumulation | None) -> None:
        """Makes the stage's model and its optimizer."""
        stage, inner = self._stage, self._parts.head if self.is_frozen else self._classifier.model
        self._trained = StageModel(inner, has_empty_rows=self._fill is not None)
        fixed = stage.schedule.kind == "plateau"
        optimizer = make_optimizer(
            self._config.optimizer,
            stage.learning_rate if fixed else RateTable(self._rates),
            self._trained.trainable_variables,
            factors=self._rate_factors(),
            ema=self._config.ema,
        )
        own_optimizer = optimizer
        if self._config.optimizer.clip_norm is not None:
            replicas.clip_whole_gradients(optimizer)
        if cut is not None:
            optimizer = accumulate_gradients(optimizer, cut, self._trained.dtype_policy.name)
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
        self._trained.compile(
            optimizer=optimizer,
            loss=training_loss(self._config, self._class_counts),
            # An object, not a name: Keras would create the metric's variables in the first traced step and retrace it.
            weighted_metrics=[accuracy],
            jit_compile="auto",
            auto_scale_loss=cut is None,  # otherwise `accumulate_gradients` does it
        )
        self._running = running_metrics(self._trained, accuracy)
        replicas.check_whole_gradients(self._trained.optimizer)
        gc.collect()  # the previous stage's optimizer, which is part of reference cycles
        # Now and not in the first step, so that a checkpoint can be restored into the variables.
        self._trained.optimizer.build(self._trained.trainable_variables)
        self._moving = average_weights(own_optimizer)

    def _rate_factors(self) -> list[float] | None:
        """`layer_decay` to the depth of each trainable variable below the head, or None for equal rates."""
        if self._config.layer_decay == 1.0 or self.is_frozen:
            return None
        depths = depths_below_head(self._classifier)
        return [self._config.layer_decay ** depths.get(id(one), 0) for one in self._trained.trainable_variables]

    @contextmanager
    def scored_weights(self) -> Iterator[None]:
        """Within the block the model has the weights that are scored and kept: with EMA the averages."""
        with holding(self._trained.trainable_variables if self._moving else [], self._moving):
            yield

    def end_stage(self) -> None:
        """Replaces the weights by their averages, if there are any, so that the next stage starts from them."""
        if self._moving:
            assign(self._trained.trainable_variables, self._moving)

    @property
    def _backbone_layers(self) -> Iterable[keras.Layer]:
        """Those that freeze as a whole."""
        return freezable_layers(self._classifier.backbone_name, self._classifier.backbone).values()

    @property
    def _changing_weights(self) -> list[keras.Variable]:
        """Variables that the stage's steps change: trainable ones, and statistics of trainable BatchNorm."""
        layers = (*self._parts.head.layers, *self._backbone_layers)
        return [weight for layer in layers if layer.trainable for weight in layer.weights]

    @contextmanager
    def averaged(self, weights: Weights) -> Iterator[None]:
        """Within the block the model uses these values, from one of `averages`, instead of its own."""
        with holding(self._changing_weights, weights):
            yield

    @property
    def is_frozen(self) -> bool:
        """True if the stage trains only the head, on features instead of pixels."""
        return self._stage.unfreeze == 0.0

    @property
    def has_random_layers(self) -> bool:
        """True if the current stage trains with dropout or similar layers."""
        weights = {id(variable) for variable in self._trained.weights}
        return any(id(variable) not in weights for variable in self._trained.variables)

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
        `fit`. Raises CheckpointError if `begun` is no part of this epoch.
        """
        peak = self._stage.learning_rate * plateau_factor(self._stage.schedule, log_losses)
        if self._stage.schedule.kind == "plateau":
            self._trained.optimizer.learning_rate = peak
            last_rate = peak
        else:
            last_rate = float(self._rates[(len(log_losses) + 1) * len(batches) - 1])
        shown = batches if self._cut is None else MicroBatches(batches, self._cut)
        if self._fill is not None:
            shown = ConstantBatches(shown, self._fill)
        ends = step_ends(self._cut, len(batches))
        first = steps_before(ends, begun.batches)
        if first:
            shown = RestOfEpoch(shown, first)
            begin_at(self._trained.optimizer, first)
        clock = StepClock()
        pause = PauseCallback(self._trained, first, ends, is_due, running=self._running, metrics=begun.metrics)
        own = [clock, pause, *([self.averages] if self.averages else [])]
        history = self._trained.fit(
            devices.fit_input(shown), epochs=1, shuffle=False, verbose=0, callbacks=[*own, *callbacks]
        ).history
        if self.averages and pause.steps == len(ends):
            self.averages.end_epoch()
        ready_s = dict(batches.ready_s) if self._cut is None else self._cut.by_step(batches.ready_s)
        loss = history["loss" if self._fill is None else "example_loss"]
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

    def probabilities(self, inputs: NDArray[Any] | Pixels) -> NDArray[np.float32]:
        """Softmax (n, classes) of unaugmented photos, n > 0, computed in batches.

        inputs: pixels uint8 (n, height, width, 3), or features (n, d) if the stage is frozen.
        """
        return self._predictors.probabilities(inputs, from_features=self.is_frozen)

    def features(self, pixels: NDArray[np.uint8], at_once: int) -> NDArray[np.float32]:
        """Pooled outputs (n, d) of the backbone in inference mode for pixels (n, height, width, 3), n > 0."""
        return self._predictors.features(pixels, at_once)

    @property
    def feature_count(self) -> int:
        """d, the width of the backbone's pooled outputs."""
        return int(self._parts.trunk.output_shape[-1])

    @property
    def trainable_parameters(self) -> int:
        """Number of scalars that the current stage trains."""
        return sum(int(np.prod(variable.shape)) for variable in self._trained.trainable_variables)

    @property
    def has_initial_backbone(self) -> bool:
        """True if none of the backbone's weights has changed."""
        return self._initial.all_unchanged

    @property
    def initial_variables(self) -> Omitted:
        """Checkpoint key -> digest of the backbone's weights that have not changed since the start."""
        return self._initial.unchanged

    def model_arrays(self, *, without: Collection[str] = ()) -> dict[str, NDArray[Any]]:
        """The model's variables by checkpoint key, except the keys in `without`."""
        variables = model_variables(self._classifier.model)
        return variable_arrays({key: variable for key, variable in variables.items() if key not in without})

    def optimizer_arrays(self) -> dict[str, NDArray[Any]]:
        """The optimizer's variables by checkpoint key."""
        return variable_arrays(optimizer_variables(wrapped_optimizer(self._trained.optimizer)))

    def restore(
        self,
        arrays: Mapping[str, NDArray[Any]],
        *,
        with_optimizer: bool,
        left_out: Omitted | None = NOTHING_OMITTED,
    ) -> None:
        """Restores a checkpoint's variables. with_optimizer: True only within the same stage.

        left_out: variables that the checkpoint omits, see `InitialWeights.restore`. Raises CheckpointError.
        """
        variables = model_variables(self._classifier.model)
        if with_optimizer:
            variables |= optimizer_variables(wrapped_optimizer(self._trained.optimizer))
        else:
            arrays = {key: array for key, array in arrays.items() if not key.startswith("optimizer/")}
        self._initial.restore(variables, arrays, left_out)
        self._fold()

    def _rebuild(self, size_px: Size, *, folded: bool, momentum: float | None) -> None:
        """Builds the model again, with the values that it has. folded: whether its BatchNorm stays frozen. momentum: of
        its BatchNorm, or None for the backbone's own.
        """
        carried = self.model_arrays() if self._size_px else None
        if carried is not None:
            # Keras models contain reference cycles: without this, two models would occupy the device for a while.
            del self._classifier, self._parts, self._trained, self._predictors
            gc.collect()
        with replicas.on_replicas():
            self._classifier = build_classifier(
                self._config,
                size_px=size_px,
                class_count=len(self._class_counts),
                weights=None if carried else self._weights,
            )
        # Not on the replicas, so that predictions run on one device and not on each.
        model, self._parts = self._classifier.model, split(self._classifier)
        self._predictors = Predictors(model, self._parts)
        if carried is None:
            self._initial = InitialWeights(self._classifier)
        else:
            restore_variables(model_variables(model), carried)
        if momentum is not None:
            set_statistics_momentum(self._classifier.backbone, momentum)
        self._size_px, self._is_folded, self._momentum = size_px, folded, momentum
        self._fold()

    def _fold(self) -> None:
        """Call after each external change of the backbone's variables, before anything is traced."""
        if self._is_folded:
            fold_batch_norm(self._classifier.backbone)
