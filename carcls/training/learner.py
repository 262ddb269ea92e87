"""The model of one training run: builds it, enters stages, predicts, saves and restores. Decides nothing."""

import gc
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.backend import replicas
from carcls.config import TrainConfig
from carcls.frames import Size
from carcls.input.pixels import Pixels
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.folding import fold_batch_norm
from carcls.models.freezing import depths_below_head, freezable_layers, set_statistics_momentum, set_trainable
from carcls.models.trunk_and_head import Parts, split
from carcls.training.checkpoint import model_variables, restore_variables, variable_arrays
from carcls.training.initial_weights import NOTHING_OMITTED, InitialWeights, Omitted
from carcls.training.stage_training import StageTraining
from carcls.training.steps.micro_batches import Accumulation
from carcls.training.steps.optimizers import holding
from carcls.training.steps.predictors import Predictors
from carcls.training.steps.stage_model import use_whole_batches
from carcls.training.steps.weight_averages import WeightAverages, Weights


class Learner:
    """Owns model and optimizer. Weights persist through all stages; each stage has a fresh optimizer.

    A stage that trains no layer of the backbone trains only the head, on features (see `features`), as a small model
    that shares the variables. Not thread-safe. Call `enter_stage` first; other methods act on the current stage.
    """

    stage: StageTraining
    """Trains the classifier's model, or only its head, in the current stage."""
    is_frozen: bool
    """True if the current stage trains only the head, on features instead of pixels."""
    _classifier: Classifier
    _parts: Parts
    _initial: InitialWeights
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
        vars(self).pop("stage", None)  # so that two optimizers are never in memory
        stage, size_px = self._config.stages[number], self._config.stage_size(number)
        keeps_statistics = self._config.keeps_statistics(number)
        momentum = self._config.statistics_momentum(number)
        if (size_px, keeps_statistics, momentum) != (self._size_px, self._is_folded, self._momentum):
            self._rebuild(size_px, folded=keeps_statistics, momentum=momentum)
        set_trainable(self._classifier, stage.unfreeze, batch_norm=not keeps_statistics)
        self._initial.note_trainable(self._backbone_layers)
        self.is_frozen = stage.unfreeze == 0.0
        self._predictors.enter_stage(self._config.stage_batch_size(number) if cut is None else cut.micro_batch)
        layers = [*self._classifier.model.layers, *self._classifier.backbone.layers]
        use_whole_batches(layers, has_empty_rows=fill is not None)
        with replicas.on_replicas():
            self.stage = StageTraining(
                self._config,
                stage,
                self._parts.head if self.is_frozen else self._classifier.model,
                depths=self._depths(),
                class_counts=self._class_counts,
                steps_per_epoch=steps_per_epoch,
                cut=cut,
                fill=fill,
            )
        self.stage.averages = WeightAverages(self._changing_weights) if averages else None

    def _depths(self) -> dict[int, int] | None:
        """Depth of each variable below the head, for `layer_decay`, or None for equal rates."""
        return None if self._config.layer_decay == 1.0 or self.is_frozen else depths_below_head(self._classifier)

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
        return variable_arrays(self.stage.optimizer_variables)

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
            variables |= self.stage.optimizer_variables
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
            del self._classifier, self._parts, self._predictors
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
