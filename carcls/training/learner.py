"""The model of one training: built, compiled, trained an epoch at a time, read and written. Acts; decides nothing."""

import gc
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.backend import devices
from carcls.config import StageConfig, TrainConfig
from carcls.input.pixels import Pixels
from carcls.input.prefetch import EpochBatches
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.folding import fold_batch_norm
from carcls.models.freezing import set_trainable
from carcls.models.parts import Parts, split
from carcls.training.accumulation import accumulating, counting_batches
from carcls.training.averages import WeightAverages, Weights
from carcls.training.checkpoint import model_variables, optimizer_variables, restore_variables, variable_arrays
from carcls.training.initial import NOTHING, InitialWeights, LeftOut
from carcls.training.losses import training_loss
from carcls.training.micro_batches import Accumulation, MicroBatches
from carcls.training.optimizers import RateTable, make_optimizer
from carcls.training.schedules import plateau_factor, rates


@dataclass(frozen=True, slots=True)
class Trained:
    """What one epoch of training tells."""

    loss: float
    """Mean over the examples, each as it was seen and as its class weighs; with the head's L2 penalty."""
    accuracy: float
    learning_rate: float
    """Of the last step."""
    clock: "StepClock"
    ready_s: Mapping[int, float]
    """When the photos of each step were prepared, by the step's number, on the clock's scale."""


class StepClock(keras.callbacks.Callback):
    """When each training step began and ended, in seconds of `time.perf_counter`."""

    def __init__(self) -> None:
        super().__init__()
        self.started_s = time.perf_counter()
        self.steps: list[tuple[float, float]] = []

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keras calls it before each step, which may still have to wait for its batch."""
        self.steps.append((time.perf_counter(), 0.0))

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keras calls it after each step; its numbers have come back from the device by then."""
        self.steps[-1] = (self.steps[-1][0], time.perf_counter())


class Learner:
    """Owns model and optimizer. Weights live on through all stages; each stage has a fresh optimizer.

    A stage that trains no layer of the backbone trains the head alone, on features (see `features`): the same
    variables, a small model. Not thread-safe. `enter_stage` comes first; all else works on the stage entered last.
    """

    _stage: StageConfig
    _rates: NDArray[np.float32]
    _cut: Accumulation | None
    _classifier: Classifier
    _parts: Parts
    _initial: InitialWeights
    _trained: keras.Model
    """The classifier's model, or its head alone."""
    averages: WeightAverages | None
    """Of the current stage's weights, where they are asked for."""
    _predictors: dict[bool, keras.Model]
    """For the whole model (False) and for the head (True): never compiled, because compile throws a model's traced
    functions away, so that each is traced once for an image size."""

    def __init__(self, config: TrainConfig, *, class_counts: NDArray[np.int64], weights: Path | None) -> None:
        """`class_counts` (classes,): training photos of each class."""
        self._config = config
        self._class_counts = class_counts
        self._weights = weights
        self._size_px = 0

    def enter_stage(
        self, number: int, *, steps_per_epoch: int, cut: Accumulation | None = None, averages: bool = False
    ) -> None:
        """Build or rebuild for the stage's image size, freeze, and compile with a fresh optimizer.

        cut: how its batches go through the model; None: whole. `steps_per_epoch` counts whole batches either way.
        averages: whether to keep averages of the stage's weights.
        """
        stage, size_px = self._config.stages[number], self._config.stage_image_size(number)
        if size_px != self._size_px:
            self._rebuild(size_px)
        set_trainable(self._classifier, stage.unfreeze, batch_norm=not self._keeps_statistics)
        self._initial.note_trainable(self._classifier.backbone)
        self._stage = stage
        self._rates = rates(stage, steps_per_epoch)
        self._trained = self._parts.head if self.is_frozen else self._classifier.model
        self._cut = cut
        fixed = stage.schedule.kind == "plateau"
        optimizer = make_optimizer(
            self._config.optimizer,
            stage.learning_rate if fixed else RateTable(self._rates),
            self._trained.trainable_variables,
        )
        if cut is not None:
            optimizer = accumulating(optimizer, cut, self._trained.dtype_policy.name)
        self._trained.compile(
            optimizer=optimizer,
            loss=training_loss(self._config, self._class_counts),
            # Not by its name: Keras would make the metric's variables within the first traced step, and trace it again.
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            jit_compile="auto",
            auto_scale_loss=cut is None,  # else `accumulating` has seen to it
        )
        gc.collect()  # the stage before's optimizer, which is held by cycles too
        # Now and not in the first step, so that a checkpoint finds the variables that it fills.
        self._trained.optimizer.build(self._trained.trainable_variables)
        self.averages = WeightAverages(self._changing_weights) if averages else None

    @property
    def _changing_weights(self) -> list[keras.Variable]:
        """What the stage's steps change: trainable variables, and statistics of BatchNorm that trains."""
        layers = (*self._parts.head.layers, *self._classifier.backbone.layers)
        return [weight for layer in layers if layer.trainable for weight in layer.weights]

    @contextmanager
    def averaged(self, weights: Weights) -> Iterator[None]:
        """Within the block the model has these values of one of `averages` in place of its own."""
        variables = self._changing_weights
        own = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]
        try:
            _assign(variables, weights)
            yield
        finally:
            _assign(variables, own)

    @property
    def _keeps_statistics(self) -> bool:
        """Whether the backbone's BatchNorm stays as it was pretrained: statistics of small batches destroy it."""
        return self._config.weights != "none"

    @property
    def is_frozen(self) -> bool:
        """True where the stage trains nothing but the head, and sees features in place of pixels."""
        return self._stage.unfreeze == 0.0

    @property
    def has_random_layers(self) -> bool:
        """True where the current stage trains with dropout or its like."""
        weights = {id(variable) for variable in self._trained.weights}
        return any(id(variable) not in weights for variable in self._trained.variables)

    def train_epoch(self, batches: EpochBatches, log_losses: Sequence[float]) -> Trained:
        """Train on one epoch's batches; `log_losses` on validation are those of the stage's epochs so far."""
        peak = self._stage.learning_rate * plateau_factor(self._stage.schedule, log_losses)
        if self._stage.schedule.kind == "plateau":
            self._trained.optimizer.learning_rate = peak
            last_rate = peak
        else:
            last_rate = float(self._rates[(len(log_losses) + 1) * len(batches) - 1])
        clock, shown = StepClock(), batches if self._cut is None else MicroBatches(batches, self._cut)
        callbacks = [clock, *([self.averages] if self.averages else [])]
        history = self._trained.fit(
            devices.fit_input(shown), epochs=1, shuffle=False, verbose=0, callbacks=callbacks
        ).history
        if self.averages:
            self.averages.end_epoch()
        ready_s = dict(batches.ready_s) if self._cut is None else self._cut.by_step(batches.ready_s)
        return Trained(float(history["loss"][0]), float(history["accuracy"][0]), last_rate, clock, ready_s)

    def probabilities(self, inputs: NDArray[Any] | Pixels) -> NDArray[np.float32]:
        """Plain photos, n > 0, as the stage sees them -> softmax (n, classes), a batch at a time.

        Pixels uint8 (n, size, size, 3), or features (n, d) where the stage is frozen.
        """
        at_once = self._config.batch_size if self._cut is None else self._cut.micro_batch
        return _predict(self._predictors[self.is_frozen], inputs, min(at_once, len(inputs)))

    def features(self, pixels: NDArray[np.uint8], at_once: int) -> NDArray[np.float32]:
        """Pixels (n, size, size, 3), n > 0 -> the backbone's pooled outputs (n, d) in inference mode."""
        return _predict(self._parts.trunk, pixels, at_once)

    @property
    def feature_count(self) -> int:
        """d, the width of the backbone's pooled outputs."""
        return int(self._parts.trunk.output_shape[-1])

    @property
    def trainable_parameters(self) -> int:
        """Scalars that the current stage trains."""
        return sum(int(np.prod(variable.shape)) for variable in self._trained.trainable_variables)

    @property
    def has_initial_backbone(self) -> bool:
        """True as long as nothing has changed any of the backbone's weights."""
        return self._initial.all_unchanged

    @property
    def initial_variables(self) -> LeftOut:
        """The backbone's weights that are still what they were at the start, by checkpoint key, with their digests."""
        return self._initial.unchanged

    def model_arrays(self, *, without: Collection[str] = ()) -> dict[str, NDArray[Any]]:
        """The model's variables, by checkpoint key, less those whose keys are in `without`."""
        variables = model_variables(self._classifier.model)
        return variable_arrays({key: variable for key, variable in variables.items() if key not in without})

    def optimizer_arrays(self) -> dict[str, NDArray[Any]]:
        """All of the optimizer's variables, by checkpoint key."""
        return variable_arrays(optimizer_variables(counting_batches(self._trained.optimizer)))

    def restore(
        self,
        arrays: Mapping[str, NDArray[Any]],
        *,
        with_optimizer: bool,
        left_out: LeftOut | None = NOTHING,
    ) -> None:
        """Take over a checkpoint's variables, its optimizer only within the same stage.

        left_out: what the checkpoint says so of, see `InitialWeights.restore`. Raises CheckpointError.
        """
        variables = model_variables(self._classifier.model)
        if with_optimizer:
            variables |= optimizer_variables(counting_batches(self._trained.optimizer))
        else:
            arrays = {key: array for key, array in arrays.items() if not key.startswith("optimizer/")}
        self._initial.restore(variables, arrays, left_out)
        self._fold()

    def _rebuild(self, size_px: int) -> None:
        carried = self.model_arrays() if self._size_px else None
        if carried is not None:
            # Keras models are full of cycles: without this, two models share the device until Python feels like it.
            del self._classifier, self._parts, self._trained, self._predictors
            gc.collect()
        self._classifier = build_classifier(
            self._config,
            size_px=size_px,
            class_count=len(self._class_counts),
            weights=None if carried else self._weights,
        )
        model, self._parts = self._classifier.model, split(self._classifier)
        self._predictors = {
            False: keras.Model(model.inputs, model.outputs, name="predictor"),
            True: keras.Model(self._parts.head.inputs, self._parts.head.outputs, name="head_predictor"),
        }
        if carried is None:
            self._initial = InitialWeights(self._classifier)
        else:
            restore_variables(model_variables(model), carried)
        self._size_px = size_px
        self._fold()

    def _fold(self) -> None:
        """After each change of the backbone's variables from outside, and before anything is traced."""
        if self._keeps_statistics:
            fold_batch_norm(self._classifier.backbone)


def _assign(variables: Sequence[keras.Variable], values: Sequence[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _predict(model: keras.Model, inputs: NDArray[Any] | Pixels, at_once: int) -> NDArray[np.float32]:
    """Outputs of all inputs, `at_once` at a time."""
    parts = []
    for start in range(0, len(inputs), at_once):
        batch = inputs[start : start + at_once]
        # One shape is one trace: the last batch is filled up with zeros and cut again.
        filled = np.concatenate([batch, np.zeros((at_once - len(batch), *batch.shape[1:]), batch.dtype)])
        parts.append(np.asarray(model.predict_on_batch(filled))[: len(batch)])
    return np.concatenate(parts)
