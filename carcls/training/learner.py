"""The model of one training: built, compiled, trained an epoch at a time, read and written. Acts; decides nothing."""

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.config import StageConfig, TrainConfig
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.freezing import set_trainable
from carcls.training.checkpoint import model_variables, optimizer_variables, restore_variables, variable_arrays
from carcls.training.losses import training_loss
from carcls.training.optimizers import make_optimizer
from carcls.training.schedules import plateau_factor, rates


@dataclass(frozen=True, slots=True)
class Trained:
    """What one epoch of training tells."""

    loss: float
    """Mean over the examples, each as it was seen and as its class weighs; with the head's L2 penalty."""
    accuracy: float
    learning_rate: float
    """Of the last step."""
    seconds: float


class RateTable(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate for each optimizer step, looked up; the last one holds for any step beyond."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        super().__init__()
        self.values = values

    def __call__(self, step: Any) -> Any:  # noqa: ANN401 (a tensor of whichever backend runs)
        """The rate of `step`, an integer scalar counted from 0."""
        index = keras.ops.minimum(keras.ops.cast(step, "int32"), len(self.values) - 1)
        return keras.ops.take(keras.ops.convert_to_tensor(self.values), index)

    def get_config(self) -> dict[str, Any]:
        """What Keras saves."""
        return {"values": self.values.tolist()}


class Learner:
    """Owns model and optimizer. Weights live on through all stages; each stage has a fresh optimizer.

    Not thread-safe. `enter_stage` comes first; all else works on the stage entered last.
    """

    _stage: StageConfig
    _rates: NDArray[np.float32]
    _classifier: Classifier
    _model: keras.Model
    _predictor: keras.Model

    def __init__(self, config: TrainConfig, *, class_counts: NDArray[np.int64], weights: Path | None) -> None:
        """`class_counts` (classes,): training photos of each class."""
        self._config = config
        self._class_counts = class_counts
        self._weights = weights
        self._size_px = 0

    def enter_stage(self, number: int, *, steps_per_epoch: int) -> None:
        """Build or rebuild for the stage's image size, freeze, and compile with a fresh optimizer."""
        stage, size_px = self._config.stages[number], self._config.stage_image_size(number)
        if size_px != self._size_px:
            self._rebuild(size_px)
        # Statistics and scale that were trained before stay as they are: those of small batches destroy them.
        set_trainable(self._classifier, stage.unfreeze, batch_norm=self._config.weights == "none")
        self._stage = stage
        self._rates = rates(stage, steps_per_epoch)
        fixed = stage.schedule.kind == "plateau"
        self._model.compile(
            optimizer=make_optimizer(
                self._config.optimizer,
                stage.learning_rate if fixed else RateTable(self._rates),
                self._model.trainable_variables,
            ),
            loss=training_loss(self._config, self._class_counts),
            metrics=["accuracy"],
            jit_compile="auto",
        )
        gc.collect()  # the stage before's optimizer, which is held by cycles too
        # Now and not in the first step, so that a checkpoint finds the variables that it fills.
        self._model.optimizer.build(self._model.trainable_variables)

    def train_epoch(self, batches: keras.utils.PyDataset, log_losses: Sequence[float]) -> Trained:
        """Train on one epoch's batches; `log_losses` on validation are those of the stage's epochs so far."""
        peak = self._stage.learning_rate * plateau_factor(self._stage.schedule, log_losses)
        if self._stage.schedule.kind == "plateau":
            self._model.optimizer.learning_rate = peak
            last_rate = peak
        else:
            last_rate = float(self._rates[(len(log_losses) + 1) * len(batches) - 1])
        started = time.perf_counter()
        history = self._model.fit(batches, epochs=1, shuffle=False, verbose=0).history
        seconds = time.perf_counter() - started
        return Trained(float(history["loss"][0]), float(history["accuracy"][0]), last_rate, seconds)

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Plain pixels (n, size, size, 3), n > 0 -> softmax (n, classes), a batch at a time."""
        size = min(self._config.batch_size, len(pixels))
        parts = []
        for start in range(0, len(pixels), size):
            batch = pixels[start : start + size]
            # One shape is one trace: the last batch is filled up with black and cut again.
            filled = np.concatenate([batch, np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)])
            parts.append(np.asarray(self._predictor.predict_on_batch(filled))[: len(batch)])
        return np.concatenate(parts)

    @property
    def trainable_parameters(self) -> int:
        """Scalars that the current stage trains."""
        return sum(int(np.prod(variable.shape)) for variable in self._model.trainable_variables)

    def model_arrays(self) -> dict[str, NDArray[Any]]:
        """All of the model's variables, by checkpoint key."""
        return variable_arrays(model_variables(self._model))

    def optimizer_arrays(self) -> dict[str, NDArray[Any]]:
        """All of the optimizer's variables, by checkpoint key."""
        return variable_arrays(optimizer_variables(self._model.optimizer))

    def restore(self, arrays: Mapping[str, NDArray[Any]], *, with_optimizer: bool) -> None:
        """Take over a checkpoint's variables, its optimizer only within the same stage. Raises CheckpointError."""
        variables = model_variables(self._model)
        if with_optimizer:
            variables |= optimizer_variables(self._model.optimizer)
        else:
            arrays = {key: array for key, array in arrays.items() if not key.startswith("optimizer/")}
        restore_variables(variables, arrays)

    def _rebuild(self, size_px: int) -> None:
        carried = self.model_arrays() if self._size_px else None
        if carried is not None:
            # Keras models are full of cycles: without this, two models share the device until Python feels like it.
            del self._classifier, self._model, self._predictor
            gc.collect()
        self._classifier = build_classifier(
            self._config,
            size_px=size_px,
            class_count=len(self._class_counts),
            weights=None if carried else self._weights,
        )
        self._model = self._classifier.model
        # A second model over the same layers: compile throws a model's traced functions away, and this one is never
        # compiled, so that each image size traces its prediction once.
        self._predictor = keras.Model(self._model.inputs, self._model.outputs, name="predictor")
        if carried is not None:
            restore_variables(model_variables(self._model), carried)
        self._size_px = size_px
