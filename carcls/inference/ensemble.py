"""Combines several trained classifiers into one Keras model that averages their probabilities.

The average of trainings with different photos or seeds is more accurate than any single one (Lakshminarayanan et al.
2017, 'Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles').
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from carcls.frames import Size, frame_of, size_name, take_photos_alike
from carcls.models.classifier import HEAD_POOL, Classifier, fresh_layer_names


@dataclass(frozen=True)
class Member:
    """One classifier of an ensemble."""

    classifier: Classifier
    size_px: Size
    """Of its training photos and of its model's inputs."""


def averaged(members: Sequence[Member], weights: Sequence[float] | None = None) -> keras.Model:
    """A model from pixels 0..255 (b, H, W, 3) to float32 softmax (b, classes): the mean of the members' outputs.

    weights: of each member in the mean, above 0, in any unit; None for equal ones.

    H and W are those of `largest_size`; pixels for the others are resized inside the graph, see `_resized`. A trunk
    (backbone and pooling) that is bit-equal in several members, as in frozen trainings, is computed once. For a single
    member, returns its own model. The model shares the members' variables and is not compiled. It consists only of
    Keras layers, with the same names in every process, so plain Keras can load it.

    Raises ValueError if there are no members, if weights are not one positive number each, if the members differ in
    the number of classes or in how photos fit, or if a model's input does not have its member's size.
    """
    _check(members)
    shares = _shares(members, weights)
    if len(members) == 1:
        return members[0].classifier.model
    size_px = largest_size(members)
    with fresh_layer_names():
        pixels = keras.Input(frame_of(size_px).shape, dtype="float32", name="pixels")
        at_size = {size_px: pixels}
        features: dict[str, keras.KerasTensor] = {}
        outputs = []
        for number, member in enumerate(members):
            model, identity = member.classifier.model, _trunk_identity(member)
            pooled = model.get_layer(HEAD_POOL).output
            if member.size_px not in at_size:
                at_size[member.size_px] = _resized(pixels, member.size_px)
            if identity not in features:  # bit-equal trunks of several members are computed once
                trunk = keras.Model(model.input, pooled, name=f"trunk_{number}")
                features[identity] = trunk(at_size[member.size_px])
            head = keras.Model(pooled, model.output, name=f"head_{number}")
            outputs.append(head(features[identity]))
        if len(set(shares)) == 1:
            mean = keras.layers.Average(dtype="float32", name="mean")(outputs)
        else:
            weighted = [
                keras.layers.Rescaling(share, dtype="float32", name=f"share_{number}")(output)
                for number, (share, output) in enumerate(zip(shares, outputs, strict=True))
            ]
            mean = keras.layers.Add(dtype="float32", name="mean")(weighted)
        return keras.Model(pixels, mean, name="averaged")


def _shares(members: Sequence[Member], weights: Sequence[float] | None) -> list[float]:
    """Weights that sum to 1."""
    weights = [1.0] * len(members) if weights is None else list(weights)
    if len(weights) != len(members) or not all(0 < weight < float("inf") for weight in weights):
        raise ValueError(f"weights: expected {len(members)} numbers above 0, found {weights}")
    return [weight / sum(weights) for weight in weights]


def largest_size(members: Sequence[Member]) -> Size:
    """The largest of the members' sizes by area, to which photos are decoded."""
    return max((member.size_px for member in members), key=lambda size: frame_of(size).area)


def _resized(pixels: keras.KerasTensor, size_px: Size) -> keras.KerasTensor:
    """Float pixels (b, H, W, 3) -> the smaller size.

    Bilinear, without antialiasing. Compared with photos decoded at the smaller size (MobileNetV2-1.0 with a linear head
    fitted to 361 photos of cars10, 361 others predicted), total variation distance and share of equal labels are:
    224 -> 128 px 0.047 and 95 %, 224 -> 160 0.049 and 94 %, 224 -> 192 0.073 and 93 %, 256 -> 224 0.061 and 94 %; the
    log-loss rises by 0.001 to 0.019. Antialiasing blurs: distances 0.118, 0.098, 0.096, 0.075. Bicubic has 0.071,
    0.040, 0.045, 0.040, but TensorFlow has no XLA kernel for it, nor for Lanczos, so prediction would fail on a GPU.
    """
    resizing = keras.layers.Resizing(
        frame_of(size_px).height,
        frame_of(size_px).width,
        interpolation="bilinear",
        data_format="channels_last",
        dtype="float32",
        name=f"resized_{size_name(size_px)}",
    )
    return resizing(pixels)


def _trunk_identity(member: Member) -> str:
    """Equal for trunks that compute bit-equal features."""
    classifier = member.classifier
    pooling = classifier.model.get_layer(HEAD_POOL)
    layers = [(type(layer).__name__, layer.dtype_policy.name) for layer in (*classifier.backbone.layers, pooling)]
    digest = hashlib.blake2b(repr((classifier.backbone_name, str(member.size_px), layers)).encode(), digest_size=16)
    for weight in classifier.backbone.weights:
        values = keras.ops.convert_to_numpy(weight.value)
        digest.update(repr((values.shape, values.dtype.str)).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _check(members: Sequence[Member]) -> None:
    if not members:
        raise ValueError("members: none to average; expected at least one")
    class_count = members[0].classifier.model.output_shape[-1]
    frames = [frame_of(member.size_px) for member in members]
    if not take_photos_alike(frames):
        raise ValueError(
            f"members: photos fit them in different ways ({', '.join(f'{one} {one.fit}' for one in frames)}); expected"
            " one fit, and one shape unless photos are stretched"
        )
    for number, member in enumerate(members):
        model = member.classifier.model
        expected = ((None, *frame_of(member.size_px).shape), (None, class_count))
        if (model.input_shape, model.output_shape) != expected:
            raise ValueError(
                f"members[{number}]: its model maps {model.input_shape} to {model.output_shape}; expected"
                f" {expected[0]} to {expected[1]}, from its size and the first member's classes"
            )
