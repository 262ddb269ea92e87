"""Names, sizes and pixel scaling of backbones; names of policies. Plain rows: importing this costs nothing."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

PixelScaling = Literal["minus_one_to_one", "zero_to_255"]
"""What the backbone's own preprocess_input makes of pixels 0..255; `zero_to_255`: the model rescales inside."""


@dataclass(frozen=True, slots=True)
class BackboneInfo:
    """One backbone of keras.applications, as far as it can be told without keras."""

    name: str
    pixel_scaling: PixelScaling
    native_size_px: int
    min_size_px: int
    alphas: tuple[float, ...] = (1.0,)
    """Width multipliers for which ImageNet weights exist."""

    @property
    def has_alpha(self) -> bool:
        """True where the builder takes a width multiplier."""
        return len(self.alphas) > 1


_EFFICIENTNET_NATIVE_PX = {"B0": 224, "B1": 240, "B2": 260, "B3": 300, "B4": 380, "B5": 456, "B6": 528, "B7": 600}

BACKBONES: dict[str, BackboneInfo] = {
    info.name: info
    for info in (
        BackboneInfo("MobileNet", "minus_one_to_one", 224, 32, (0.25, 0.5, 0.75, 1.0)),
        BackboneInfo("MobileNetV2", "minus_one_to_one", 224, 32, (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
        BackboneInfo("Xception", "minus_one_to_one", 299, 71),
        BackboneInfo("InceptionV3", "minus_one_to_one", 299, 75),
        *(
            BackboneInfo(f"EfficientNet{variant}", "zero_to_255", size, 32)
            for variant, size in _EFFICIENTNET_NATIVE_PX.items()
        ),
    )
}

AUGMENT_POLICIES = ("none", "light", "medium", "strong")
POLICY_FILE_SUFFIXES = (".yaml", ".yml", ".json")
"""Of a user's own augmentation policy: what albumentations' `save` writes."""


def nearest_name(wrong: str, valid: tuple[str, ...] | list[str]) -> str | None:
    """The valid name that the user most likely meant, or None where nothing is near."""
    by_lower = {name.lower(): name for name in valid}
    matches = get_close_matches(wrong.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None
