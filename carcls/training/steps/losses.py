"""The training loss: cross-entropy or focal loss, optionally with class weights."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig

_SMALLEST = 1e-25
"""Smallest probability with a gradient in the focal loss. 1 / p, scaled for float16, stays far below float32's end."""


def training_loss(config: TrainConfig, class_counts: NDArray[np.int64]) -> keras.Loss:
    """The loss of a configuration. class_counts: (classes,) number of training photos per class."""
    weights = class_weights(class_counts) if config.class_balance == "weights" else None
    if config.loss == "focal":
        own = np.ones(len(class_counts), np.float32) if weights is None else weights
        return FocalLoss(own, gamma=config.focal_gamma, label_smoothing=config.label_smoothing)
    if weights is None:
        return keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing)
    return WeightedCrossentropy(weights, label_smoothing=config.label_smoothing)


def class_weights(class_counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Class weights, float32 (classes,): inversely proportional to class sizes, with mean 1 over all photos.

    n / (non-empty classes * photos of the class), after King & Zeng 2001, "Logistic Regression in Rare Events Data";
    scikit-learn calls it "balanced". The weight of an empty class is 1 and never used.
    """
    present = class_counts > 0
    weights = class_counts.sum() / (max(int(present.sum()), 1) * np.maximum(class_counts, 1))
    return np.where(present, weights, 1.0).astype(np.float32)


class WeightedCrossentropy(keras.Loss):
    """Cross-entropy with label smoothing and class weights.

    The mean is over examples, not over weights. With `class_weights`, an epoch's loss is the mean over classes of the
    mean over their photos; it equals the plain loss if all classes have the same loss.
    """

    def __init__(self, weights: NDArray[np.float32], *, label_smoothing: float) -> None:
        super().__init__(name="weighted_crossentropy")
        self.weights = weights
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ANN401 (tensors of any backend)
        """Losses (b,) of probabilities (b, classes) for labels (b, classes) with rows summing to 1.

        Linear in the labels: each part of a mixed photo has the weight of its own class. Smoothing spreads an example
        evenly over classes, regardless of their weights.
        """
        weighted = y_true * keras.ops.convert_to_tensor(self.weights, dtype=y_pred.dtype)
        example = keras.ops.sum(weighted, axis=-1, keepdims=True)
        # TensorFlow's cross-entropy always has the gradient of labels that sum to 1, so the weight is applied outside.
        losses = keras.losses.categorical_crossentropy(weighted / example, y_pred, label_smoothing=self.label_smoothing)
        return losses * keras.ops.squeeze(example, axis=-1)


class FocalLoss(keras.Loss):
    """Focal loss (Lin et al. 2017, arXiv 1708.02002) for softmax outputs, with label smoothing and class weights.

    The sum over classes of label * (1 - probability)**gamma * -log(probability); with gamma 0 it would be
    `WeightedCrossentropy`. The mean is over examples.
    """

    def __init__(self, weights: NDArray[np.float32], *, gamma: float, label_smoothing: float) -> None:
        super().__init__(name="focal_loss")
        self.weights = weights
        self.gamma = gamma
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ANN401 (tensors of any backend)
        """Losses (b,) of float32 probabilities (b, classes) for labels (b, classes) with rows summing to 1.

        Class weights and smoothing as in `WeightedCrossentropy`.
        """
        ops = keras.ops
        weighted = ops.cast(y_true, y_pred.dtype) * ops.convert_to_tensor(self.weights, dtype=y_pred.dtype)
        example = ops.sum(weighted, axis=-1, keepdims=True)
        labels = weighted / example * (1.0 - self.label_smoothing) + self.label_smoothing / len(self.weights)
        # Not Keras's epsilon at the lower end: a photo below 1e-7, the hardest of all, would have no gradient.
        sure = ops.clip(y_pred, _SMALLEST, 1.0 - keras.config.epsilon())
        losses = ops.sum(labels * ops.power(1.0 - sure, self.gamma) * -ops.log(sure), axis=-1)
        return losses * ops.squeeze(example, axis=-1)
