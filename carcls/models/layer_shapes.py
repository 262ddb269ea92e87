"""A classifier's graph as plain values: what each layer takes, returns, holds and keeps for the gradient."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import keras

from carcls.models.classifier import Classifier
from carcls.models.freezing import layer_parents

_KERNELS = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense")
_FLOAT_BYTES = 4
_BYTES: Mapping[str, int] = {"float16": 2, "bfloat16": 2, "float32": 4, "uint8": 1}
_SCALED = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D")
"""Convolutions into which a frozen BatchNorm is folded, see `carcls.models.folding`."""
_ALIASES = ("InputLayer", "Dropout", "Reshape", "Flatten", "Identity")
"""Layers that only rename their input, or are fused with what is next to them."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One layer or operation. Elements are of one photo."""

    name: str
    kind: str
    """Name of its class."""
    inputs: tuple[str, ...]
    """Names of the layers that feed it."""
    elements: int
    """Of its output."""
    inner_elements: int = 0
    """Of what it computes in between: a separable convolution's first half, or an activation's argument."""
    bytes_each: int = 4
    """Of its output's elements."""
    weights: int = 0
    """Scalars that its variables hold."""
    trained_weights: int = 0
    """Of them, those that train."""
    scaled_weights: int = 0
    """Of its kernel, which is scaled in each step because the BatchNorm behind it is folded into it."""
    channel_kernel: tuple[int, int] | None = None
    """(positions, channels) of a kernel that convolves each channel by itself, or None."""
    is_alias: bool = False
    """Whether its output is its input: a frozen BatchNorm that is folded into the convolution before it."""


def layer_shapes(classifier: Classifier, *, folded: bool) -> tuple[LayerShape, ...]:
    """The layers of backbone and head, input to output, with the `trainable` flags that they have now.

    folded: whether frozen BatchNorm is folded, see `carcls.models.folding`.
    """
    rows: list[LayerShape] = []
    last: dict[str, str] = {}
    for name, feeding in layer_parents(classifier.model).items():
        operation = next(one for one in classifier.model.operations if one.name == name)
        if operation is classifier.backbone:
            inner = _rows(classifier.backbone, folded=folded, outer=last.get(feeding[0], feeding[0]))
            rows += inner
            last[name] = inner[-1].name
        else:
            rows.append(_row(operation, tuple(last.get(one, one) for one in feeding), folded=folded))
    return with_scaled_kernels(rows)


def with_scaled_kernels(rows: Sequence[LayerShape]) -> tuple[LayerShape, ...]:
    """The rows with `scaled_weights` of each convolution that only feeds a BatchNorm folded into it."""
    uses = Counter(one for row in rows for one in row.inputs)
    norms = {row.inputs[0] for row in rows if row.kind == "BatchNormalization" and row.is_alias}
    return tuple(
        replace(row, scaled_weights=row.weights)
        if row.name in norms and row.kind in _SCALED and uses[row.name] == 1 and row.bytes_each == _FLOAT_BYTES
        else row
        for row in rows
    )


def _rows(model: keras.Model, *, folded: bool, outer: str) -> list[LayerShape]:
    """The layers of a nested model, whose own input is the layer `outer`."""
    operations = {one.name: one for one in model.operations}
    prefix = f"{model.name}/"
    rows = []
    for name, feeding in layer_parents(model).items():
        row = _row(operations[name], tuple(prefix + one for one in feeding) or (outer,), folded=folded)
        rows.append(replace(row, name=prefix + name))
    end = prefix + model.output._keras_history.operation.name
    return [*(row for row in rows if row.name != end), *(row for row in rows if row.name == end)]


def _row(operation: keras.Operation, feeding: tuple[str, ...], *, folded: bool) -> LayerShape:
    kind = type(operation).__name__
    output = operation.output[0] if isinstance(operation.output, list | tuple) else operation.output
    elements = prod(side for side in output.shape[1:] if side is not None)
    variables = getattr(operation, "weights", [])
    trained = sum(prod(one.shape) for one in getattr(operation, "trainable_variables", []))
    is_frozen_norm = kind == "BatchNormalization" and not trained
    return LayerShape(
        name=operation.name,
        kind=kind,
        inputs=feeding,
        elements=elements,
        inner_elements=_inner_elements(operation, kind, elements),
        bytes_each=_BYTES.get(keras.backend.standardize_dtype(output.dtype), 4),
        weights=sum(prod(one.shape) for one in variables),
        trained_weights=trained,
        channel_kernel=_channel_kernel(operation, kind),
        is_alias=kind in _ALIASES or (is_frozen_norm and folded),
    )


def _channel_kernel(operation: keras.Operation, kind: str) -> tuple[int, int] | None:
    if kind not in ("DepthwiseConv2D", "SeparableConv2D"):
        return None
    kernel = operation.depthwise_kernel if kind == "SeparableConv2D" else operation.kernel
    height, width, channels, multiplier = kernel.shape
    return height * width, channels * multiplier


def _inner_elements(operation: keras.Operation, kind: str, elements: int) -> int:
    """Elements that a layer keeps besides its input: what a separable convolution passes between its halves, and the
    argument of an activation that is part of the layer."""
    inner = 0
    if kind == "SeparableConv2D":
        pointwise = operation.pointwise_kernel.shape
        inner += elements // pointwise[-1] * pointwise[-2]
    activation = getattr(operation, "activation", None)
    if kind in _KERNELS and activation is not None and activation is not keras.activations.linear:
        inner += elements
    return inner
