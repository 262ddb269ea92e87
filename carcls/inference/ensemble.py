"""Several trained classifiers -> one Keras model that averages their probabilities.

Averaging the softmax outputs of trainings that differ in their photos or their seed is worth more than any single one
of them (Lakshminarayanan et al. 2017, 'Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles').
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from carcls.models.classifier import HEAD_POOL, Classifier, clean_names


@dataclass(frozen=True)
class Member:
    """One classifier of an average."""

    classifier: Classifier
    size_px: int
    """Side of the photos that it was trained for, and of its model's inputs."""


def averaged(members: Sequence[Member]) -> keras.Model:
    """Pixels 0..255 (b, S, S, 3) -> float32 softmax (b, classes): the arithmetic mean of the members' outputs.

    S is the largest of the members' sizes; the others get their pixels resized inside the graph, see `_resized`. A
    trunk (backbone and pooling) that several members share bit for bit, as frozen trainings do, is computed once. A
    single member gives its own model. The variables are the members' own, and the model is not compiled. It holds
    layers of Keras alone, with names that are the same in every process: plain Keras loads what is saved of it.

    Raises ValueError without members, where they differ in the number of classes, or where a model does not take
    photos of its member's size.
    """
    _check(members)
    if len(members) == 1:
        return members[0].classifier.model
    size_px = max(member.size_px for member in members)
    with clean_names():
        pixels = keras.Input((size_px, size_px, 3), dtype="float32", name="pixels")
        at_size = {size_px: pixels}
        features: dict[str, keras.KerasTensor] = {}
        outputs = []
        for number, member in enumerate(members):
            model, identity = member.classifier.model, _trunk_identity(member)
            pooled = model.get_layer(HEAD_POOL).output
            if member.size_px not in at_size:
                at_size[member.size_px] = _resized(pixels, member.size_px)
            if identity not in features:
                trunk = keras.Model(model.input, pooled, name=f"trunk_{number}")
                features[identity] = trunk(at_size[member.size_px])
            head = keras.Model(pooled, model.output, name=f"head_{number}")
            outputs.append(head(features[identity]))
        mean = keras.layers.Average(dtype="float32", name="mean")(outputs)
        return keras.Model(pixels, mean, name="averaged")


def _resized(pixels: keras.KerasTensor, size_px: int) -> keras.KerasTensor:
    """Float pixels (b, S, S, 3) -> (b, size_px, size_px, 3), size_px < S.

    Bilinear, without antialiasing. Predictions of MobileNetV2-1.0 (a linear head on 361 photos of cars10, 361 others
    asked) against those for photos that were decoded at the size, total variation distance and photos with the same
    label: 224 -> 128 px 0.047 and 95 %, 224 -> 160 0.049 and 94 %, 224 -> 192 0.073 and 93 %, 256 -> 224 0.061 and
    94 %; log-loss rises by 0.001 to 0.019. Antialiased it blurs: 0.118, 0.098, 0.096, 0.075. Bicubic moves them 0.071,
    0.040, 0.045, 0.040, but TensorFlow has no XLA kernel for it, nor for Lanczos: a GPU could not predict.
    """
    resizing = keras.layers.Resizing(
        size_px,
        size_px,
        interpolation="bilinear",
        data_format="channels_last",
        dtype="float32",
        name=f"resized_{size_px}",
    )
    return resizing(pixels)


def _trunk_identity(member: Member) -> str:
    """Equal for trunks that make the same features of the same photos, bit for bit."""
    classifier = member.classifier
    pooling = classifier.model.get_layer(HEAD_POOL)
    layers = [(type(layer).__name__, layer.dtype_policy.name) for layer in (*classifier.backbone.layers, pooling)]
    digest = hashlib.blake2b(repr((classifier.backbone_name, member.size_px, layers)).encode(), digest_size=16)
    for weight in classifier.backbone.weights:
        values = keras.ops.convert_to_numpy(weight.value)
        digest.update(repr((values.shape, values.dtype.str)).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _check(members: Sequence[Member]) -> None:
    if not members:
        raise ValueError("members: none to average; expected at least one")
    class_count = members[0].classifier.model.output_shape[-1]
    for number, member in enumerate(members):
        model = member.classifier.model
        expected = ((None, member.size_px, member.size_px, 3), (None, class_count))
        if (model.input_shape, model.output_shape) != expected:
            raise ValueError(
                f"members[{number}]: its model maps {model.input_shape} to {model.output_shape}; expected"
                f" {expected[0]} to {expected[1]}, by its size and the first member's classes"
            )
