"""Predictions during training: of the whole model, of its head from features, and of its trunk."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.backend import replicas
from carcls.input.pixels import Pixels
from carcls.models.trunk_and_head import Parts


class FixedModel(keras.Model):
    """Made from inputs and outputs, as a functional model. All its variables count as fixed.

    On JAX trainable and other variables are separate arguments of a compiled prediction: a stage that trains other
    layers would compile it again, and on several devices Keras would refuse the new arguments.
    """

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Empty: predictions train nothing."""
        return []

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """All variables."""
        return list(self.variables)


class Predictors:
    """Never compiled, since compile discards traced functions: each model is traced only once per image size."""

    def __init__(self, model: keras.Model, parts: Parts) -> None:
        """Call outside of the replicas, so that predictions run on one device and not on each."""
        self._trunk = parts.trunk
        self._whole = FixedModel(model.inputs, model.outputs, name="predictor")
        self._head = FixedModel(parts.head.inputs, parts.head.outputs, name="head_predictor")
        self._most_rows, self._rows = 0, 0

    def enter_stage(self, most_rows: int) -> None:
        """most_rows: the most photos at once in predictions of this stage."""
        self._most_rows, self._rows = most_rows, 0

    def probabilities(self, inputs: NDArray[Any] | Pixels, *, from_features: bool) -> NDArray[np.float32]:
        """Softmax (n, classes) of unaugmented photos, n > 0, in batches whose size the stage's first call sets.

        inputs: pixels uint8 (n, height, width, 3), or features (n, d) with `from_features`.
        """
        if not self._rows:
            self._rows = replicas.whole(min(self._most_rows, len(inputs)))
        return _predict(self._head if from_features else self._whole, inputs, self._rows)

    def features(self, pixels: NDArray[np.uint8], at_once: int) -> NDArray[np.float32]:
        """Pooled outputs (n, d) of the trunk in inference mode for pixels (n, height, width, 3), n > 0."""
        return _predict(self._trunk, pixels, replicas.whole(at_once))


def _predict(model: keras.Model, inputs: NDArray[Any] | Pixels, at_once: int) -> NDArray[np.float32]:
    """Outputs of all inputs, in batches of `at_once`."""
    parts = []
    for start in range(0, len(inputs), at_once):
        batch = inputs[start : start + at_once]
        # Pads the last batch with zeros, since each shape would be traced separately.
        filled = np.concatenate([batch, np.zeros((at_once - len(batch), *batch.shape[1:]), batch.dtype)])
        parts.append(np.asarray(model.predict_on_batch(filled))[: len(batch)])
    return np.concatenate(parts)
