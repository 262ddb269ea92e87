"""Folds frozen BatchNorm, which is only a scale and a shift, into the preceding convolution if there is one.

Keras recomputes a frozen layer's scale and shift from four variables in every graph and passes over all activations
twice. Scaling the kernel instead costs next to nothing (Jacob et al. 2018, 'Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference', section 3.2).
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
    """Replaces each BatchNormalization of the backbone by its current scale and shift; equal up to rounding.

    Only for layers that stay frozen for the life of the model. Call it once their weights are loaded, and again after
    loading other weights, before anything is traced. Variables, names and configuration do not change. Convolutions
    remain trainable and still learn their unscaled kernel.
    """
    parents, layers = layer_parents(backbone), {layer.name: layer for layer in backbone.layers}
    # A convolution with another consumer, or whose output is an output of the model, must stay unscaled.
    uses = Counter(parent for feeding in parents.values() for parent in feeding)
    uses.update(output._keras_history.operation.name for output in backbone.outputs)
    for layer in filter(_normalises_channels, backbone.layers):
        scale, shift = _scale_and_shift(layer)
        before = layers.get(parents[layer.name][0])  # None for an operation that is not a layer
        if before is not None and uses[before.name] == 1 and _can_be_scaled(before, layer.compute_dtype):
            before.call = _Convolution(before, scale, shift)
            layer.call = _identity
        else:
            layer.call = _Folded(scale, shift, layer.compute_dtype)


@dataclass(frozen=True, eq=False, slots=True)
class _Folded:
    """Replaces a BatchNormalization's `call`."""

    scale: NDArray[np.float32]
    """(channels,)"""
    shift: NDArray[np.float32]
    """(channels,)"""
    dtype: str
    """Dtype of the outputs. Computes in float32, as Keras does."""

    # Tensors of any backend. A frozen layer ignores the other two arguments.
    def __call__(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ANN401
        del training, mask
        return keras.ops.cast(keras.ops.cast(inputs, "float32") * self.scale + self.shift, self.dtype)


@dataclass(frozen=True, eq=False, slots=True)
class _Convolution:
    """Replaces a convolution's `call`: computes the convolution and the normalisation after it."""

    layer: keras.layers.Layer
    scale: NDArray[np.float32]
    """(channels,)"""
    shift: NDArray[np.float32]
    """(channels,)"""

    def __call__(self, inputs: Any) -> Any:  # noqa: ANN401 (a tensor of whichever backend runs)
        shift = self.shift if self.layer.bias is None else self.layer.bias * self.scale + self.shift
        return _APPLY[type(self.layer)](self.layer, inputs, self.scale) + shift


def _identity(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ANN401 (as `_Folded`)
    del training, mask
    return inputs


def _normalises_channels(layer: keras.layers.Layer) -> bool:
    """True for a BatchNormalization over the last axis. Others are left to Keras."""
    is_norm = isinstance(layer, keras.layers.BatchNormalization)
    return is_norm and layer.axis in (-1, len(layer.output.shape) - 1)


def _can_be_scaled(layer: keras.layers.Layer, dtype_behind: str) -> bool:
    """True for a convolution without activation, channels last, in float32: its outputs are linear in its kernel."""
    return (
        type(layer) in _APPLY
        and layer.data_format == "channels_last"
        and layer.activation is keras.activations.linear
        and layer.compute_dtype == dtype_behind == "float32"
    )


def _scale_and_shift(layer: keras.layers.BatchNormalization) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and shift, (channels,) each, computed with the backend's operations in Keras's order."""
    ops = keras.ops
    scale = ops.rsqrt(layer.moving_variance + layer.epsilon)
    if layer.gamma is not None:
        scale = scale * layer.gamma
    shift = -layer.moving_mean * scale if layer.beta is None else layer.beta - layer.moving_mean * scale
    return ops.convert_to_numpy(scale), ops.convert_to_numpy(shift)


def _dense(layer: keras.layers.Conv2D, inputs: Any, scale: NDArray[np.float32]) -> Any:  # noqa: ANN401 (as `_Convolution`)
    return layer.convolution_op(inputs, layer.kernel * scale)


def _depthwise(layer: keras.layers.DepthwiseConv2D, inputs: Any, scale: NDArray[np.float32]) -> Any:  # noqa: ANN401 (same)
    # The kernel is (height, width, inputs, outputs per input), and output channels are in that order.
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


# By exact type: a subclass may behave differently.
_APPLY: dict[type[keras.layers.Layer], Callable[[Any, Any, NDArray[np.float32]], Any]] = {
    keras.layers.Conv2D: _dense,
    keras.layers.DepthwiseConv2D: _depthwise,
    keras.layers.SeparableConv2D: _separable,
}
