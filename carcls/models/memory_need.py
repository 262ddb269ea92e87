"""Predicts the device memory of a training step from a classifier's layers. Pure.

The prediction is compared with what XLA's compiler plans for the compiled step, see `benchmarks/memory.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from carcls.models.layer_shapes import LayerShape

Device = Literal["gpu", "cpu"]
_FLOAT = 4
"""Bytes of a weight, its gradient and the optimizer's values, in every precision."""
_SLOTS: dict[str, int] = {"adam": 2, "adamw": 2, "sgd": 1, "rmsprop": 2}
"""Values that an optimizer keeps for each trained weight."""

SURE = 0.75
"""Share of a prediction that a step needs for certain: no prediction compared was more than a quarter too high."""

_KEEP_INPUT = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense", "BatchNormalization", "LayerNormalization")
"""Layers whose own gradient needs their input."""
_BEND = ("Activation", "ReLU", "Softmax", "Multiply", "MaxPooling2D", "Gelu", "GlobalMaxPooling2D", "LayerScale")
"""Layers through which a gradient passes only with their inputs."""


@dataclass(frozen=True, slots=True)
class Optimizer:
    """What the optimizer keeps for each trained weight."""

    kind: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    amsgrad: bool = False
    ema: bool = False
    accumulates: bool = False
    """Whether gradients of parts of a batch are added up."""

    @property
    def values(self) -> int:
        """Values for each trained weight."""
        has_more = self.amsgrad and self.kind in ("adam", "adamw")
        return _SLOTS[self.kind] + has_more + self.ema + self.accumulates


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes of one training step on a device."""

    weights: int
    """All variables of the model."""
    slots: int
    """The optimizer's values."""
    step: int
    """The largest sum, within the step, of kept activations, gradients of activations and gradients of weights."""
    photos: int
    """The batch itself."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.slots + self.step + self.photos


def memory_need(
    layers: Sequence[LayerShape], *, photos: int, optimizer: Optimizer, device: Device = "gpu"
) -> MemoryNeed:
    """The memory for `photos` photos at once. layers: of the whole classifier, input to output, see `layer_shapes`.

    device: on a CPU, XLA computes the gradient of a kernel that convolves each channel by itself through one of all
    channels by all channels.

    A stage that trains only the head trains it on stored features, so pass only the layers behind the pooling.
    """
    trained = sum(layer.trained_weights for layer in layers)
    half = any(layer.bytes_each == 2 for layer in layers)
    weights = sum(layer.weights for layer in layers)
    return MemoryNeed(
        weights=_FLOAT * weights + (2 * weights if half else 0),
        slots=_FLOAT * trained * optimizer.values,
        step=_step_bytes(layers, photos, device),
        photos=photos * layers[0].elements * layers[0].bytes_each,
    )


def largest_fitting(
    layers: Sequence[LayerShape], *, photos: int, least: int, optimizer: Optimizer, limit_bytes: int, devices: int = 1
) -> int | None:
    """The most photos at once, at most `photos` and at least `least`, that are not sure to exceed the limit; or None.

    Fewer than `photos` are parts of a batch, whose gradients are added up. devices: over which they are spread. The
    prediction counts only as far as it is known to be right: see `SURE`.
    """

    def fits(count: int) -> bool:
        whole = replace(optimizer, accumulates=count < photos or optimizer.accumulates)
        need = memory_need(layers, photos=-(-count // devices), optimizer=whole)
        return need.total * SURE <= limit_bytes

    if fits(photos):
        return photos
    low, high = min(least, photos), photos  # the need grows with the photos
    if not fits(low):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def kept_tensors(layers: Sequence[LayerShape]) -> dict[str, int]:
    """Name of each layer whose output is kept for the gradient -> number of the first layer that needs it.

    What only passes a sum, a mean or a padding is not kept, nor is anything below the lowest layer that trains.
    """
    source = _sources(layers)
    carries = _carrying(layers)
    kept: dict[str, int] = {}
    for number, layer in enumerate(layers):
        needs_own = layer.trained_weights and layer.kind in _KEEP_INPUT
        passes = layer.kind in _BEND and any(one in carries for one in layer.inputs)
        if needs_own or passes:
            for one in layer.inputs:
                kept.setdefault(source.get(one, one), number)
    return kept


def _step_bytes(layers: Sequence[LayerShape], photos: int, device: Device) -> int:
    """The largest sum while the step runs: forward, then backward from the last layer to the lowest that trains."""
    size = {layer.name: layer.elements * layer.bytes_each * photos for layer in layers}
    inner = [layer.inner_elements * layer.bytes_each * photos for layer in layers]
    source, carries = _sources(layers), _carrying(layers)
    first_use = kept_tensors(layers)
    peak = alive = 0
    for number, layer in enumerate(layers):  # forward
        if layer.name in carries:
            alive += inner[number] + _FLOAT * layer.scaled_weights  # scaled kernels stay to the end
        fed = sum(
            size[one] for one in {source.get(one, one) for one in layer.inputs} if one not in first_use and one in size
        )
        own = 0 if layer.is_alias else size[layer.name]
        peak = max(peak, alive + fed + own)
        if layer.name in first_use:
            alive += own
    freed = [0] * len(layers)
    for one in layers:
        if one.name in first_use and not one.is_alias:
            freed[first_use[one.name]] += size[one.name]
    gradients = 0
    for number in reversed(range(len(layers))):
        layer = layers[number]
        if layer.name not in carries:
            continue
        gradients += _FLOAT * layer.trained_weights
        flowing = size[layer.name] + sum(size[one] for one in layer.inputs if one in carries)
        flowing += _kernel_gradient_bytes(layer, device)
        peak = max(peak, alive + gradients + (0 if layer.is_alias else flowing))
        alive -= inner[number] + freed[number]
    return peak


def _kernel_gradient_bytes(layer: LayerShape, device: Device) -> int:
    """What a CPU needs besides for the gradient of a kernel that convolves each channel by itself."""
    if device != "cpu" or layer.channel_kernel is None or not layer.trained_weights:
        return 0
    positions, channels = layer.channel_kernel
    return 2 * _FLOAT * positions * channels**2


def _sources(layers: Sequence[LayerShape]) -> dict[str, str]:
    """Name of each layer that renames its input -> name of the layer whose output that is."""
    source: dict[str, str] = {}
    for layer in layers:
        if layer.is_alias and layer.inputs:
            source[layer.name] = source.get(layer.inputs[0], layer.inputs[0])
    return source


def _carrying(layers: Sequence[LayerShape]) -> set[str]:
    """Names of the layers through which a gradient flows to weights: those that train, and all that depend on one."""
    carrying: set[str] = set()
    for layer in layers:
        if layer.trained_weights or any(one in carrying for one in layer.inputs):
            carrying.add(layer.name)
    return carrying
