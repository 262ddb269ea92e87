"""Frozen BatchNorm as what it is: a scale and a shift, taken into the convolution before it where there is one.

Keras works a frozen layer's scale and shift out of four variables in every graph that it traces, and passes over all of
its activations twice. To scale a kernel in their place costs next to nothing (Jacob et al. 2018, 'Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference', section 3.2).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.models.freezing import layer_parents


def fold_batch_norm(backbone: keras.Model) -> None:
    """Lets each BatchNormalization of the backbone answer by its scale and shift as they are now, to rounding.

    For layers that stay frozen as long as the model lives, once their weights are in place; after other weights were
    put there, call it again, before anything is traced. Variables, names and configuration stay as they are, and the
    convolutions learn as before: what they learn is their kernel without the scale.
    """
    parents, layers = layer_parents(backbone), {layer.name: layer for layer in backbone.layers}
    uses = Counter(parent for feeding in parents.values() for parent in feeding)
    uses.update(output._keras_history.operation.name for output in backbone.outputs)
    for layer in filter(_normalises_channels, backbone.layers):
        scale, shift = _scale_and_shift(layer)
        before = layers.get(parents[layer.name][0])  # None: an operation that is no layer
        if before is not None and uses[before.name] == 1 and _takes_a_scale(before, layer.compute_dtype):
            before.call = _Convolution(before, scale, shift)
            layer.call = _passed_on
        else:
            layer.call = _Folded(scale, shift, layer.compute_dtype)


@dataclass(frozen=True, eq=False, slots=True)
class _Folded:
    """Stands in for the layer's own `call`."""

    scale: NDArray[np.float32]
    """(channels,)"""
    shift: NDArray[np.float32]
    """(channels,)"""
    dtype: str
    """Of the outputs; computed is in float32, as Keras does."""

    # Tensors of whichever backend runs; a frozen layer ignores the other two.
    def __call__(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ANN401
        del training, mask
        return keras.ops.cast(keras.ops.cast(inputs, "float32") * self.scale + self.shift, self.dtype)


@dataclass(frozen=True, eq=False, slots=True)
class _Convolution:
    """Stands in for a convolution's own `call`: what the normalisation behind it would have made of the answer."""

    layer: keras.layers.Layer
    scale: NDArray[np.float32]
    """(channels,)"""
    shift: NDArray[np.float32]
    """(channels,)"""

    def __call__(self, inputs: Any) -> Any:  # noqa: ANN401 (a tensor of whichever backend runs)
        shift = self.shift if self.layer.bias is None else self.layer.bias * self.scale + self.shift
        return _APPLY[type(self.layer)](self.layer, inputs, self.scale) + shift


def _passed_on(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ANN401 (as `_Folded`)
    del training, mask
    return inputs


def _normalises_channels(layer: keras.layers.Layer) -> bool:
    """Channels last; others are left to Keras."""
    is_norm = isinstance(layer, keras.layers.BatchNormalization)
    return is_norm and layer.axis in (-1, len(layer.output.shape) - 1)


def _takes_a_scale(layer: keras.layers.Layer, dtype_behind: str) -> bool:
    """A convolution whose outputs are linear in its kernel, channels last, computed in the kernel's own precision."""
    return (
        type(layer) in _APPLY
        and layer.data_format == "channels_last"
        and layer.activation is keras.activations.linear
        and layer.compute_dtype == dtype_behind == "float32"
    )


def _scale_and_shift(layer: keras.layers.BatchNormalization) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(channels,) each, worked out by the backend's own operations, in Keras's order."""
    ops = keras.ops
    scale = ops.rsqrt(layer.moving_variance + layer.epsilon)
    if layer.gamma is not None:
        scale = scale * layer.gamma
    shift = -layer.moving_mean * scale if layer.beta is None else layer.beta - layer.moving_mean * scale
    return ops.convert_to_numpy(scale), ops.convert_to_numpy(shift)


def _dense(layer: keras.layers.Conv2D, inputs: Any, scale: NDArray[np.float32]) -> Any:  # noqa: ANN401 (as `_Convolution`)
    return layer.convolution_op(inputs, layer.kernel * scale)


def _depthwise(layer: keras.layers.DepthwiseConv2D, inputs: Any, scale: NDArray[np.float32]) -> Any:  # noqa: ANN401 (same)
    # The kernel is (height, width, inputs, outputs of each), the channels of the answer in that order.
    kernel = layer.kernel * scale.reshape(layer.kernel.shape[-2:])
    return keras.ops.depthwise_conv(inputs, kernel, **_geometry(layer))


def _separable(layer: keras.layers.SeparableConv2D, inputs: Any, scale: NDArray[np.float32]) -> Any:  # noqa: ANN401 (same)
    pointwise = layer.pointwise_kernel * scale
    return keras.ops.separable_conv(inputs, layer.depthwise_kernel, pointwise, **_geometry(layer))


def _geometry(layer: keras.layers.Layer) -> dict[str, Any]:
    return {
        "strides": layer.strides,
        "padding": layer.padding,
        "dilation_rate": layer.dilation_rate,
        "data_format": layer.data_format,
    }


# By exact type: a subclass may answer otherwise.
_APPLY: dict[type[keras.layers.Layer], Callable[[Any, Any, NDArray[np.float32]], Any]] = {
    keras.layers.Conv2D: _dense,
    keras.layers.DepthwiseConv2D: _depthwise,
    keras.layers.SeparableConv2D: _separable,
}
