"""Backbones of keras.applications: one row each, and everything that differs between families is in its row."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import keras

from carcls.catalog import BACKBONES, PixelScaling

# Of pixels 0..1, red, green, blue.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_VARIANCE = (0.229**2, 0.224**2, 0.225**2)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file without top that keras.applications publishes."""

    name: str
    url: str
    digest: str | None
    """MD5 in hex, where Keras knows one."""


@dataclass(frozen=True, slots=True)
class BackboneRow:
    """How one backbone is built, where its blocks may end, and where its ImageNet weights lie."""

    builder: str
    """Name in keras.applications."""
    module: str
    """Module in keras.applications, with its preprocess_input and the constants of its weights files."""
    block_ends: str
    """Regular expression that matches whole layer names. It may match too much: only layers through which every path of
    the graph passes become block ends. Automatic names (`add_3`) carry a counter: no pattern may rely on the number."""
    imagenet: Callable[[ModuleType, float], WeightsFile]
    """(source module, alpha) -> the file without top; the module's own constants say from where."""


def _mobilenet_file(source: ModuleType, alpha: float) -> WeightsFile:
    # Keras publishes one file per size; 224 px is the canonical one, and convolutions load at any size.
    width = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}[alpha]
    name = f"mobilenet_{width}_224_tf_no_top.h5"
    return WeightsFile(name, source.BASE_WEIGHT_PATH + name, None)


def _mobilenet_v2_file(source: ModuleType, alpha: float) -> WeightsFile:
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5"
    return WeightsFile(name, source.BASE_WEIGHT_PATH + name, None)


def _single_file(name: str, digest: str) -> Callable[[ModuleType, float], WeightsFile]:
    return lambda source, alpha: WeightsFile(name, source.WEIGHTS_PATH_NO_TOP, digest)


def _efficientnet_file(variant: str) -> Callable[[ModuleType, float], WeightsFile]:
    name = f"efficientnet{variant}_notop.h5"
    return lambda source, alpha: WeightsFile(name, source.BASE_WEIGHTS_PATH + name, source.WEIGHTS_HASHES[variant][1])


ROWS: dict[str, BackboneRow] = {
    row.builder: row
    for row in (
        BackboneRow("MobileNet", "mobilenet", r"conv1_relu|conv_pw_\d+_relu", _mobilenet_file),
        BackboneRow("MobileNetV2", "mobilenet_v2", r"Conv1_relu|\w+_project_BN|\w+_add|out_relu", _mobilenet_v2_file),
        BackboneRow(
            "Xception",
            "xception",
            r"block1_conv2_act|add(_\d+)?|block14_sepconv2_act",
            _single_file(
                "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "b0042744bf5b25fce3cb969f33bebb97",
            ),
        ),
        BackboneRow(
            "InceptionV3",
            "inception_v3",
            r"max_pooling2d(_\d+)?|mixed\d+",
            _single_file(
                "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "bcbd6486424b2319ff4ef7d526e38f63",
            ),
        ),
        *(
            BackboneRow(
                f"EfficientNetB{number}",
                "efficientnet",
                r"stem_activation|\w+_project_bn|\w+_add|top_activation",
                _efficientnet_file(f"b{number}"),
            )
            for number in range(8)
        ),
    )
}


def build_backbone(name: str, alpha: float, size_px: int) -> keras.Model:
    """The backbone without top and with random weights; its name is `backbone`.

    Maps scaled pixels (b, size_px, size_px, 3) (see `scale_pixels`) to features (b, h, w, channels). Raises KeyError
    for a backbone that has no row, and what Keras raises for a size below the family's smallest.
    """
    width = {"alpha": alpha} if BACKBONES[name].has_alpha else {}
    builder = getattr(keras.applications, ROWS[name].builder)
    backbone = builder(include_top=False, weights=None, input_shape=(size_px, size_px, 3), name="backbone", **width)
    settle_normalization(backbone)
    return backbone


def settle_normalization(backbone: keras.Model) -> None:
    """Give layers that normalise pixels by stored statistics ImageNet's own; call again after loading weights.

    EfficientNet's published files hold the deviation where the layer expects the variance, and keras.applications makes
    up for it with one more layer, but only where it downloads the file itself. And the layer computes with copies that
    an assignment to its variables does not reach. With the true constants set when the graph is built, any way of
    filling the variables gives the same model.
    """
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            mean, variance, _count = layer.weights
            mean.assign(_IMAGENET_MEAN)
            variance.assign(_IMAGENET_VARIANCE)
            layer.finalize_state()


def imagenet_file(name: str, alpha: float) -> WeightsFile:
    """The ImageNet weights without top that keras.applications itself would load at 224 px."""
    row = ROWS[name]
    # Only the source module holds the addresses; the public one re-exports its functions alone.
    return row.imagenet(import_module(f"keras.src.applications.{row.module}"), alpha)


_SCALINGS: dict[PixelScaling, Callable[[keras.KerasTensor], keras.KerasTensor]] = {
    "minus_one_to_one": lambda x: x / 127.5 - 1.0,
    "zero_to_255": lambda x: x,
}


def scale_pixels(name: str, x: keras.KerasTensor) -> keras.KerasTensor:
    """Float pixels 0..255 -> what the backbone expects, as its own preprocess_input; of any shape.

    Works on arrays, tensors of every Keras backend, and symbolic tensors, where it adds built-in Keras operations to
    the graph: a saved model carries its own scaling and loads in safe mode.
    """
    return _SCALINGS[BACKBONES[name].pixel_scaling](x)
