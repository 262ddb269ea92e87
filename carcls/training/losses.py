"""What training minimises: cross-entropy, where asked for with a weight for each class."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig


def training_loss(config: TrainConfig, class_counts: NDArray[np.int64]) -> keras.Loss:
    """The loss of a configuration; `class_counts` (classes,): training photos of each class."""
    if config.class_balance != "weights":
        return keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing)
    return WeightedCrossentropy(class_weights(class_counts), label_smoothing=config.label_smoothing)


def class_weights(class_counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weight of each class, float32 (classes,): inversely proportional to its photos, with mean 1 over all photos.

    n / (classes with photos * photos of the class), after King & Zeng 2001, "Logistic Regression in Rare Events Data";
    scikit-learn calls it "balanced". A class without photos weighs 1: nothing is ever multiplied by it.
    """
    present = class_counts > 0
    weights = class_counts.sum() / (max(int(present.sum()), 1) * np.maximum(class_counts, 1))
    return np.where(present, weights, 1.0).astype(np.float32)


class WeightedCrossentropy(keras.Loss):
    """Cross-entropy with label smoothing, where each example counts as much as its class weighs.

    The mean is over examples, not over weights: with the weights of `class_weights` an epoch's loss is the mean over
    classes of the mean over their photos, as large as the plain loss where all classes do equally well.
    """

    def __init__(self, weights: NDArray[np.float32], *, label_smoothing: float) -> None:
        super().__init__(name="weighted_crossentropy")
        self.weights = weights
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ANN401 (tensors of whichever backend runs)
        """Labels (b, classes), rows summing to 1, and probabilities (b, classes) -> losses (b,).

        Linear in the labels: a mixed photo counts as its parts do, each with the weight of its own class. Smoothing
        spreads an example evenly, whatever the other classes weigh.
        """
        weighted = y_true * keras.ops.convert_to_tensor(self.weights, dtype=y_pred.dtype)
        example = keras.ops.sum(weighted, axis=-1, keepdims=True)
        # TensorFlow's cross-entropy has the gradient of labels that sum to 1, whatever they sum to: so the sum goes
        # outside.
        losses = keras.losses.categorical_crossentropy(weighted / example, y_pred, label_smoothing=self.label_smoothing)
        return losses * keras.ops.squeeze(example, axis=-1)
