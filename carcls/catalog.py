"""Names, sizes and pixel scaling of backbones, and names of augmentation policies. Cheap to import: no Keras."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

PixelScaling = Literal["minus_one_to_one", "zero_to_255", "standardised_rgb", "centred_bgr"]
"""How the backbone's own preprocess_input scales pixels 0..255. `zero_to_255`: unchanged, the model rescales inside;
`standardised_rgb`: by ImageNet's mean and standard deviation of each channel; `centred_bgr`: channels reversed, minus
ImageNet's mean."""

_BYTES_PER_WEIGHT = 4
"""Published files hold float32."""


@dataclass(frozen=True, slots=True)
class BackboneInfo:
    """What is known about a backbone of keras.applications or KerasHub without importing either."""

    name: str
    pixel_scaling: PixelScaling
    native_size_px: int
    min_size_px: int
    block_count: int
    """Number of blocks that a stage's `unfreeze` fraction refers to."""
    weight_counts: tuple[int, ...]
    """Number of scalars without the top, for each of `alphas`."""
    alphas: tuple[float, ...] = (1.0,)
    """Width multipliers for which ImageNet weights exist."""
    batch_norm: bool = True
    """Whether it contains BatchNormalization, whose pretrained statistics small batches can ruin."""
    side_step_px: int = 1
    """Both sides of the input are multiples of it: the side of a patch, or what patches are merged to."""
    square_only: bool = False
    """Whether height and width must be equal."""
    one_size: bool = False
    """Whether it has a weight for each position in the input, so that all stages train at one size."""
    presets: tuple[str, ...] = ()
    """KerasHub's names of its weights; `imagenet` is the first."""

    @property
    def needs_hub(self) -> bool:
        """True for a backbone of KerasHub, see `HUB_INSTALL`."""
        return self.name in HUB_BACKBONES

    @property
    def has_alpha(self) -> bool:
        """True where the builder takes a width multiplier."""
        return len(self.alphas) > 1

    def weights_mb(self, alpha: float) -> float:
        """Size of the ImageNet weights without the top, in MB (10^6 bytes). Raises ValueError if `alpha` has none."""
        return self.weight_counts[self.alphas.index(alpha)] * _BYTES_PER_WEIGHT / 1e6


def _family(
    pixel_scaling: PixelScaling, min_size_px: int, *rows: tuple[str, int, int, int], batch_norm: bool = True
) -> tuple[BackboneInfo, ...]:
    """Rows of (name, native size in px, blocks, scalars) for a family without a width multiplier."""
    return tuple(
        BackboneInfo(name, pixel_scaling, native, min_size_px, block_count, (weights,), batch_norm=batch_norm)
        for name, native, block_count, weights in rows
    )


BACKBONES: dict[str, BackboneInfo] = {
    info.name: info
    for info in (
        *_family(
            "centred_bgr",
            32,
            ("VGG16", 224, 5, 14_714_688),
            ("VGG19", 224, 5, 20_024_384),
            batch_norm=False,
        ),
        *_family(
            "centred_bgr",
            32,
            ("ResNet50", 224, 17, 23_587_712),
            ("ResNet101", 224, 34, 42_658_176),
            ("ResNet152", 224, 51, 58_370_944),
        ),
        *_family(
            "minus_one_to_one",
            32,
            ("ResNet50V2", 224, 17, 23_564_800),
            ("ResNet101V2", 224, 34, 42_626_560),
            ("ResNet152V2", 224, 51, 58_331_648),
        ),
        *_family(
            "minus_one_to_one",
            75,
            ("InceptionV3", 299, 13, 21_802_784),
            ("InceptionResNetV2", 299, 46, 54_336_736),
        ),
        *_family(
            "minus_one_to_one",
            71,
            ("Xception", 299, 14, 20_861_480),
        ),
        *_family(
            "standardised_rgb",
            32,
            ("DenseNet121", 224, 62, 7_037_504),
            ("DenseNet169", 224, 86, 12_642_880),
            ("DenseNet201", 224, 102, 18_321_984),
        ),
        BackboneInfo(
            "MobileNet",
            "minus_one_to_one",
            224,
            32,
            14,
            (218_544, 829_536, 1_832_976, 3_228_864),
            (0.25, 0.5, 0.75, 1.0),
        ),
        BackboneInfo(
            "MobileNetV2",
            "minus_one_to_one",
            224,
            32,
            19,
            (410_208, 706_224, 1_382_064, 2_257_984, 3_766_048, 4_363_712),
            (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
        ),
        BackboneInfo(
            "MobileNetV3Small",
            "zero_to_255",
            224,
            32,
            13,
            (583_160, 939_120),
            (0.75, 1.0),
        ),
        BackboneInfo(
            "MobileNetV3Large",
            "zero_to_255",
            224,
            32,
            17,
            (1_808_736, 2_996_352),
            (0.75, 1.0),
        ),
        *_family(
            "minus_one_to_one",
            32,
            ("NASNetMobile", 224, 17, 4_269_716),
            ("NASNetLarge", 331, 23, 84_916_818),
        ),
        *_family(
            "zero_to_255",
            32,
            ("EfficientNetB0", 224, 18, 4_049_571),
            ("EfficientNetB1", 240, 25, 6_575_239),
            ("EfficientNetB2", 260, 25, 7_768_569),
            ("EfficientNetB3", 300, 28, 10_783_535),
            ("EfficientNetB4", 380, 34, 17_673_823),
            ("EfficientNetB5", 456, 41, 28_513_527),
            ("EfficientNetB6", 528, 47, 40_960_143),
            ("EfficientNetB7", 600, 57, 64_097_687),
        ),
        *_family(
            "zero_to_255",
            32,
            ("EfficientNetV2B0", 224, 23, 5_919_312),
            ("EfficientNetV2B1", 240, 29, 6_931_124),
            ("EfficientNetV2B2", 260, 30, 8_769_374),
            ("EfficientNetV2B3", 300, 34, 12_930_622),
            ("EfficientNetV2S", 384, 42, 20_331_360),
            ("EfficientNetV2M", 480, 59, 53_150_388),
            ("EfficientNetV2L", 480, 81, 117_746_848),
        ),
        *_family(
            "zero_to_255",
            32,
            ("ConvNeXtTiny", 224, 22, 27_820_128),
            ("ConvNeXtSmall", 224, 40, 49_454_688),
            ("ConvNeXtBase", 224, 40, 87_566_464),
            ("ConvNeXtLarge", 224, 40, 196_230_336),
            ("ConvNeXtXLarge", 224, 40, 348_147_968),
            batch_norm=False,
        ),
    )
}


def _hub_family(
    pixel_scaling: PixelScaling,
    min_size_px: int,
    side_step_px: int,
    *rows: tuple[str, int, int, int, tuple[str, ...]],
    square_only: bool = False,
    one_size: bool = True,
) -> tuple[BackboneInfo, ...]:
    """Rows of (name, native size in px, blocks, scalars at that size, presets) for a family of KerasHub."""
    return tuple(
        BackboneInfo(
            name,
            pixel_scaling,
            native,
            min_size_px,
            block_count,
            (weights,),
            batch_norm=False,
            side_step_px=side_step_px,
            square_only=square_only,
            one_size=one_size,
            presets=presets,
        )
        for name, native, block_count, weights, presets in rows
    )


HUB_INSTALL = "pip install 'carsearch[hub]'"
"""What makes the backbones of KerasHub usable."""

HUB_BACKBONES: dict[str, BackboneInfo] = {
    info.name: info
    for info in (
        *_hub_family(
            "minus_one_to_one",
            32,
            16,
            ("ViTTiny16", 224, 13, 5_524_416, ()),
            (
                "ViTBase16",
                224,
                13,
                85_798_656,
                (
                    "vit_base_patch16_224_imagenet21k",
                    "vit_base_patch16_224_imagenet",
                    "vit_base_patch16_384_imagenet",
                ),
            ),
            (
                "ViTLarge16",
                224,
                25,
                303_301_632,
                (
                    "vit_large_patch16_224_imagenet21k",
                    "vit_large_patch16_224_imagenet",
                    "vit_large_patch16_384_imagenet",
                ),
            ),
        ),
        *_hub_family(
            "minus_one_to_one",
            32,
            32,
            ("ViTBase32", 224, 13, 87_455_232, ("vit_base_patch32_224_imagenet21k", "vit_base_patch32_384_imagenet")),
        ),
        *_hub_family(
            "standardised_rgb",
            42,
            14,
            ("DINOv2Small", 518, 13, 22_582_656, ("dinov2_small",)),
            ("DINOv2Base", 518, 13, 87_632_640, ("dinov2_base",)),
            ("DINOv2Large", 518, 25, 305_771_520, ("dinov2_large",)),
            ("DINOv2RegSmall", 518, 13, 22_584_192, ("dinov2_with_registers_small",)),
            ("DINOv2RegBase", 518, 13, 87_635_712, ("dinov2_with_registers_base",)),
            square_only=True,
        ),
        *_hub_family(
            "standardised_rgb",
            224,
            32,
            ("SwinTiny", 224, 16, 27_519_354, ("swin_tiny_patch4_window7_224",)),
            ("SwinSmall", 224, 28, 48_837_258, ("swin_small_patch4_window7_224",)),
            ("SwinBase", 224, 28, 86_743_224, ("swin_base_patch4_window7_224",)),
            ("SwinLarge", 224, 28, 194_995_476, ("swin_large_patch4_window7_224",)),
            one_size=False,
        ),
        *_hub_family(
            "standardised_rgb",
            384,
            32,
            ("SwinBase384", 384, 28, 86_878_584, ("swin_base_patch4_window12_384",)),
            one_size=False,
        ),
    )
}
"""Backbones of KerasHub, which is an extra."""

KNOWN_BACKBONES: Mapping[str, BackboneInfo] = BACKBONES | HUB_BACKBONES
PRESETS: tuple[str, ...] = tuple(preset for info in HUB_BACKBONES.values() for preset in info.presets)
"""Values of `weights` that name what KerasHub publishes."""


def nearest_sides(info: BackboneInfo, side_px: int) -> tuple[int, ...]:
    """The sides nearest to `side_px`, below and above, that the backbone takes; one if it takes `side_px` itself."""
    below = side_px // info.side_step_px * info.side_step_px
    above = math.ceil(side_px / info.side_step_px) * info.side_step_px
    return tuple(sorted({side for side in (below, above) if side >= info.min_size_px}))


def backbones_with(weight_count: int) -> tuple[tuple[str, float], ...]:
    """Every (backbone, alpha) whose ImageNet weights without the top have this many scalars; at most one today."""
    return tuple(
        (info.name, alpha)
        for info in KNOWN_BACKBONES.values()
        for alpha, known in zip(info.alphas, info.weight_counts, strict=True)
        if known == weight_count
    )


AUGMENT_POLICIES = ("none", "light", "medium", "strong", "trivial")
POLICY_FILE_SUFFIXES = (".yaml", ".yml", ".json")
"""Suffixes of custom augmentation policies, as written by `albumentations.save`."""


def nearest_name(wrong: str, valid: tuple[str, ...] | list[str]) -> str | None:
    """The valid name that the user most likely meant, or None if nothing is close."""
    by_lower = {name.lower(): name for name in valid}
    matches = get_close_matches(wrong.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None
