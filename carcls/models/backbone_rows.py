"""One row per backbone: its builder, where its blocks may end, and where its ImageNet weights are.

`carcls.catalog` holds what is known about a backbone without Keras.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A weights file without the top, as published by keras.applications."""

    name: str
    url: str
    digest: str | None
    """MD5 or SHA-256 in hex, recognised by its length, or None if Keras has none."""


ImageNetFile = Callable[[ModuleType, float], WeightsFile]
"""(source module, alpha) -> the file without the top, at the address in the module's own constants."""


@dataclass(frozen=True, slots=True)
class BackboneRow:
    """Everything specific to a backbone that requires Keras."""

    builder: str
    """Name in keras.applications."""
    module: str
    """Module in keras.applications with preprocess_input and the constants of the weights files."""
    block_ends: str
    """Regular expression for full names of layers and operations. It may match too much: `freezing.blocks` keeps what
    the graph allows. Automatic names (`add_3`) contain a counter, so a pattern must not rely on the number."""
    imagenet: ImageNetFile
    cells: bool = False
    """True if cells take the outputs of several earlier cells. Only the first few layers are then on every path, and
    blocks are connected by outputs of whole cells instead of single tensors."""


def _named(name: str, constant: str, digest: str) -> ImageNetFile:
    """For families whose modules have the full address in a constant, but the digest only inside a function."""
    return lambda source, alpha: WeightsFile(name, getattr(source, constant), digest)


def _tf_kernels(stem: str, digest: str, constant: str = "WEIGHTS_PATH_NO_TOP") -> ImageNetFile:
    return _named(f"{stem}_weights_tf_dim_ordering_tf_kernels_notop.h5", constant, digest)


def _resnet_file(variant: str) -> ImageNetFile:
    name = f"{variant}_weights_tf_dim_ordering_tf_kernels_notop.h5"

    def file(source: ModuleType, alpha: float) -> WeightsFile:
        resnet = getattr(source, "resnet", source)  # V2 uses the constants of resnet
        return WeightsFile(name, resnet.BASE_WEIGHTS_PATH + name, resnet.WEIGHTS_HASHES[variant][1])

    return file


def _inception_resnet_file(source: ModuleType, alpha: float) -> WeightsFile:
    name = "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return WeightsFile(name, source.BASE_WEIGHT_URL + name, "d19885ff4a710c122648d3b5c3b684e4")


def _mobilenet_file(source: ModuleType, alpha: float) -> WeightsFile:
    # Keras publishes one file per size. 224 px is the canonical one; convolutions load at any size.
    width = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}[alpha]
    name = f"mobilenet_{width}_224_tf_no_top.h5"
    return WeightsFile(name, source.BASE_WEIGHT_PATH + name, None)


def _mobilenet_v2_file(source: ModuleType, alpha: float) -> WeightsFile:
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5"
    return WeightsFile(name, source.BASE_WEIGHT_PATH + name, None)


def _mobilenet_v3_file(kind: str) -> ImageNetFile:
    def file(source: ModuleType, alpha: float) -> WeightsFile:
        model = f"{kind}_224_{alpha}_float"
        name = f"weights_mobilenet_v3_{model}_no_top_v2.h5"
        return WeightsFile(name, source.BASE_WEIGHT_PATH + name, source.WEIGHTS_HASHES[model][1])

    return file


def _hashed_file(stem: str, key: str) -> ImageNetFile:
    """EfficientNet, EfficientNetV2, ConvNeXt: `key` finds the digest in the module's table."""
    name = f"{stem}_notop.h5"
    return lambda source, alpha: WeightsFile(name, source.BASE_WEIGHTS_PATH + name, source.WEIGHTS_HASHES[key][1])


_EFFICIENTNET_ENDS = r"stem_activation|\w+_project_(bn|activation)|\w+_add|top_activation"

ROWS: dict[str, BackboneRow] = {
    row.builder: row
    for row in (
        BackboneRow("VGG16", "vgg16", r"block\d_pool", _tf_kernels("vgg16", "6d6bbae143d832006294945121d1f1fc")),
        BackboneRow("VGG19", "vgg19", r"block\d_pool", _tf_kernels("vgg19", "253f8cb515780f3b799900260a226db6")),
        *(
            BackboneRow(f"ResNet{depth}", "resnet", r"pool1_pool|conv\d_block\d+_out", _resnet_file(f"resnet{depth}"))
            for depth in (50, 101, 152)
        ),
        *(
            BackboneRow(
                f"ResNet{depth}V2", "resnet_v2", r"pool1_pool|conv\d_block\d+_out", _resnet_file(f"resnet{depth}v2")
            )
            for depth in (50, 101, 152)
        ),
        BackboneRow(
            "InceptionV3",
            "inception_v3",
            r"max_pooling2d(_\d+)?|mixed\d+",
            _tf_kernels("inception_v3", "bcbd6486424b2319ff4ef7d526e38f63"),
        ),
        BackboneRow(
            "InceptionResNetV2",
            "inception_resnet_v2",
            # The last block ends without an activation.
            r"max_pooling2d(_\d+)?|mixed_\d\w|block\d+_\d+_ac|custom_scale_layer(_\d+)?",
            _inception_resnet_file,
        ),
        BackboneRow(
            "Xception",
            "xception",
            r"block1_conv2_act|add(_\d+)?|block14_sepconv2_act",
            _tf_kernels("xception", "b0042744bf5b25fce3cb969f33bebb97"),
        ),
        *(
            BackboneRow(
                f"DenseNet{depth}",
                "densenet",
                # Each dense layer concatenates its channels, so the graph is one tensor wide after every layer.
                r"pool1|conv\d_block\d+_concat|pool\d_pool",
                _tf_kernels(f"densenet{depth}", digest, f"DENSENET{depth}_WEIGHT_PATH_NO_TOP"),
            )
            for depth, digest in (
                (121, "30ee3e1110167f948a6b9946edeeb738"),
                (169, "b8c4d4c20dd625c148057b9ff1c1176b"),
                (201, "c13680b51ded0fb44dff2d8f86ac8bb1"),
            )
        ),
        BackboneRow("MobileNet", "mobilenet", r"conv1_relu|conv_pw_\d+_relu", _mobilenet_file),
        BackboneRow("MobileNetV2", "mobilenet_v2", r"Conv1_relu|\w+_project_BN|\w+_add|out_relu", _mobilenet_v2_file),
        *(
            # The stem's activation has an automatic name and belongs to the next block.
            BackboneRow(
                f"MobileNetV3{kind}",
                "mobilenet_v3",
                r"conv_bn|expanded_conv_(\d+_)?(project_bn|add)",
                _mobilenet_v3_file(kind.lower()),
            )
            for kind in ("Small", "Large")
        ),
        *(
            BackboneRow(
                f"NASNet{kind}",
                "nasnet",
                r"stem_bn1|(normal|reduction)_concat_\w+",
                _named(f"nasnet_{kind.lower()}_no_top.h5", f"NASNET_{kind.upper()}_WEIGHT_PATH_NO_TOP", digest),
                cells=True,
            )
            for kind, digest in (
                ("Mobile", "1ed92395b5b598bdda52abe5c0dbfd63"),
                ("Large", "d81d89dc07e6e56530c4e77faddd61b5"),
            )
        ),
        *(
            BackboneRow(
                f"EfficientNetB{number}",
                "efficientnet",
                _EFFICIENTNET_ENDS,
                _hashed_file(f"efficientnetb{number}", f"b{number}"),
            )
            for number in range(8)
        ),
        *(
            BackboneRow(
                f"EfficientNetV2{variant.removeprefix('-').upper()}",
                "efficientnet_v2",
                _EFFICIENTNET_ENDS,
                _hashed_file(f"efficientnetv2{'' if variant.startswith('-') else '-'}{variant}", variant),
            )
            for variant in ("b0", "b1", "b2", "b3", "-s", "-m", "-l")
        ),
        *(
            BackboneRow(
                f"ConvNeXt{kind}",
                "convnext",
                r"convnext_\w+_stem|convnext_\w+_downsampling_block_\d|add(_\d+)?",
                _hashed_file(f"convnext_{kind.lower()}", f"convnext_{kind.lower()}"),
            )
            for kind in ("Tiny", "Small", "Base", "Large", "XLarge")
        ),
    )
}
