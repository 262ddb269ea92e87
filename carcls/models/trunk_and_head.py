"""A classifier in two parts that share its variables: photos into features, and features into classes.

While the whole backbone is frozen only the head learns, so the features of a photo can be computed once for all epochs.
"""

from dataclasses import dataclass

import keras

from carcls.models.classifier import HEAD_POOL, Classifier


@dataclass(frozen=True, slots=True)
class Parts:
    """Neither part is compiled."""

    trunk: keras.Model
    """Pixels 0..255 (b, size, size, 3) -> pooled features (b, d)."""
    head: keras.Model
    """Pooled features (b, d) -> softmax (b, classes)."""


def split(classifier: Classifier) -> Parts:
    """Cuts at the pooled features. The parts' layers and variables are the classifier's own."""
    pooled = classifier.model.get_layer(HEAD_POOL).output
    trunk = keras.Model(classifier.model.inputs, pooled, name="trunk")
    head = keras.Model(pooled, classifier.model.outputs, name="head")
    head.dtype_policy = classifier.model.dtype_policy  # by it compile decides whether the loss is scaled, for float16
    return Parts(trunk, head)
