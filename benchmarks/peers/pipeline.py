"""The stock way to feed Keras: tf.data from file names, augmented by albumentations through tf.numpy_function.

As the guides show it: TensorFlow's "Load and preprocess images" and "Better performance with the tf.data API" (decode
and resize in a parallel map, cache, shuffle, augment, batch, prefetch, all with AUTOTUNE) and albumentations' example
for TensorFlow (`tf.numpy_function` around a Compose, then `set_shape`).
"""

from collections.abc import Sequence
from pathlib import Path

import albumentations as A  # noqa: N812  # the name that every example of albumentations uses
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


def pipeline(
    paths: Sequence[Path],
    labels: Sequence[int] | NDArray[np.int64],
    *,
    class_count: int,
    size_px: int,
    batch_size: int,
    transforms: Sequence[A.BasicTransform],
    training: bool,
    cache: bool,
) -> tf.data.Dataset:
    """Batches of (uint8 photos (b, size, size, 3), one-hot float32 (b, classes)).

    cache: decoded and resized photos stay in this process's memory after the first epoch, as the guides advise where
    they fit; off: every epoch decodes again.
    """
    compose = A.Compose(list(transforms))

    def load(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.image.resize(image, (size_px, size_px))
        return tf.cast(tf.round(image), tf.uint8), tf.one_hot(label, class_count)

    def augment(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.numpy_function(lambda array: compose(image=array)["image"], [image], tf.uint8)
        image.set_shape((size_px, size_px, 3))
        return image, label

    auto = tf.data.AUTOTUNE
    dataset = tf.data.Dataset.from_tensor_slices(([str(path) for path in paths], np.asarray(labels, np.int32)))
    if training and not cache:
        dataset = dataset.shuffle(len(paths))  # of names, before the costly part
    dataset = dataset.map(load, num_parallel_calls=auto)
    if cache:
        dataset = dataset.cache()
    if training and cache:
        dataset = dataset.shuffle(len(paths))
    if training and transforms:
        dataset = dataset.map(augment, num_parallel_calls=auto)
    return dataset.batch(batch_size).prefetch(auto)
