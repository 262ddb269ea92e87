"""Backbones without the top, their pixel scaling, and the ImageNet weights files of keras.applications."""

from collections.abc import Callable
from importlib import import_module

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.catalog import HUB_BACKBONES, KNOWN_BACKBONES, PixelScaling
from carcls.frames import Size, frame_of
from carcls.models.backbone_rows import ROWS, WeightsFile
from carcls.models.hub import build_hub_backbone, hub_features

# Of pixels 0..1, red, green, blue.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
# Of pixels 0..255, blue, green, red; the same mean with more digits.
_CAFFE_MEAN = (103.939, 116.779, 123.68)


def build_backbone(name: str, alpha: float, size_px: Size) -> keras.Model:
    """The backbone without the top, randomly initialised, named `backbone`.

    Maps scaled pixels (b, height, width, 3) (see `scale_pixels`) to features (b, h, w, channels), or for KerasHub to
    tokens (b, n, channels), see `features_of`. Raises KeyError for an unknown backbone, WeightsError without KerasHub,
    and what Keras raises for a size that the family does not take.
    """
    if name in HUB_BACKBONES:
        backbone = build_hub_backbone(name, size_px)
    else:
        width = {"alpha": alpha} if KNOWN_BACKBONES[name].has_alpha else {}
        builder = getattr(keras.applications, ROWS[name].builder)
        backbone = builder(include_top=False, weights=None, input_shape=frame_of(size_px).shape, **width)
    # Not with the builder's `name`: EfficientNetV2 looks up its blocks by it, ConvNeXt prefixes every layer with it.
    backbone.name = "backbone"
    set_imagenet_statistics(backbone)
    return backbone


def features_of(name: str, backbone: keras.Model, x: keras.KerasTensor, size_px: Size) -> keras.KerasTensor:
    """Scaled pixels (b, height, width, 3) -> features (b, h, w, channels)."""
    return hub_features(name, backbone, x, size_px) if name in HUB_BACKBONES else backbone(x)


def set_imagenet_statistics(backbone: keras.Model) -> None:
    """Sets Normalization layers to ImageNet's statistics. Call it again after loading weights.

    EfficientNet's published files hold the standard deviation where the layer expects the variance. keras.applications
    compensates with an extra layer, but only if it downloads the file itself. The layer also computes with copies that
    assigning its variables does not update. Setting the true constants makes the model independent of how its
    variables were filled.
    """
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            mean, variance, _count = layer.weights
            mean.assign(_IMAGENET_MEAN)
            variance.assign(np.square(_IMAGENET_DEVIATION))
            layer.finalize_state()


def imagenet_file(name: str, alpha: float) -> WeightsFile:
    """The ImageNet weights without the top that keras.applications itself loads at 224 px."""
    row = ROWS[name]
    # Only the source module has the addresses; the public one re-exports just the functions.
    return row.imagenet(import_module(f"keras.src.applications.{row.module}"), alpha)


def _float32(values: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


_SCALINGS: dict[PixelScaling, Callable[[keras.KerasTensor], keras.KerasTensor]] = {
    "minus_one_to_one": lambda x: x / 127.5 - 1.0,
    "zero_to_255": lambda x: x,
    "standardised_rgb": lambda x: (x / 255.0 - _float32(_IMAGENET_MEAN)) / _float32(_IMAGENET_DEVIATION),
    "centred_bgr": lambda x: keras.ops.flip(x, axis=-1) - _float32(_CAFFE_MEAN),
}


def scale_pixels(name: str, x: keras.KerasTensor) -> keras.KerasTensor:
    """Scales float pixels 0..255 of any shape as the backbone's own preprocess_input does.

    Works on arrays, tensors of every Keras backend, and symbolic tensors. For the latter it adds built-in Keras
    operations to the graph, so a saved model includes its scaling and loads in safe mode.
    """
    return _SCALINGS[KNOWN_BACKBONES[name].pixel_scaling](x)
