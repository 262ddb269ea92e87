"""Splits a classifier into trunk (photos to features) and head (features to classes), which share its variables.

While the whole backbone is frozen, only the head learns, so a photo's features can be computed once for all epochs.
"""

from dataclasses import dataclass

import keras

from carcls.models.classifier import HEAD_POOL, Classifier


@dataclass(frozen=True, slots=True)
class Parts:
    """The two parts of a classifier, not compiled."""

    trunk: keras.Model
    """Pixels 0..255 (b, height, width, 3) -> pooled features (b, d)."""
    head: keras.Model
    """Pooled features (b, d) -> softmax (b, classes)."""


def split(classifier: Classifier) -> Parts:
    """Splits at the pooled features. The parts' layers and variables are the classifier's own."""
    pooled = classifier.model.get_layer(HEAD_POOL).output
    trunk = keras.Model(classifier.model.inputs, pooled, name="trunk")
    head = keras.Model(pooled, classifier.model.outputs, name="head")
    head.dtype_policy = classifier.model.dtype_policy  # compile decides by it whether to scale the loss, for float16
    return Parts(trunk, head)
