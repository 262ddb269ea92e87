"""One row per backbone of KerasHub: its class there, the arguments that make it, and where its weights are. No Keras.

The arguments are complete: a saved model names the same ones, and nothing else (`carcls.inference.model_config`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

HubFamily = Literal["ViT", "DINOv2", "Swin"]

_MODULES: Mapping[HubFamily, tuple[str, str]] = {
    "ViT": ("keras_hub.src.models.vit.vit_backbone", "ViTBackbone"),
    "DINOv2": ("keras_hub.src.models.dinov2.dinov2_backbone", "DINOV2Backbone"),
    "Swin": ("keras_hub.src.models.swin_transformer.swin_transformer_backbone", "SwinTransformerBackbone"),
}
_COLLECTIONS: Mapping[HubFamily, str] = {"ViT": "vit", "DINOv2": "dinov2", "Swin": "swin-transformer"}


@dataclass(frozen=True, slots=True)
class HubRow:
    """Everything specific to a backbone of KerasHub."""

    name: str
    family: HubFamily
    settings: Mapping[str, Any] = field(hash=False)
    """Arguments of its class besides the image's shape, and besides the shape of DINOv2's positions."""

    @property
    def module(self) -> str:
        """Module of its class."""
        return _MODULES[self.family][0]

    @property
    def class_name(self) -> str:
        """Name of its class in `keras_hub.models`."""
        return _MODULES[self.family][1]

    @property
    def collection(self) -> str:
        """The model on Kaggle whose variations are the presets: `keras/<collection>/keras/<preset>`."""
        return _COLLECTIONS[self.family]

    @property
    def extra_tokens(self) -> int:
        """Tokens before those of the patches: the class token, then registers."""
        return 0 if self.family == "Swin" else 1 + int(self.settings.get("num_register_tokens", 0))

    @property
    def reduction_px(self) -> int:
        """Side in px of what one feature stands for."""
        if self.family == "Swin":
            return int(self.settings["patch_size"]) * 2 ** (len(self.settings["depths"]) - 1)
        patch = self.settings["patch_size"]
        return int(patch[0] if isinstance(patch, list) else patch)


def _vit(name: str, patch: int, layers: int, heads: int, width: int) -> HubRow:
    return HubRow(
        name,
        "ViT",
        {
            "patch_size": [patch, patch],
            "num_layers": layers,
            "num_heads": heads,
            "hidden_dim": width,
            "mlp_dim": 4 * width,
            "dropout_rate": 0.0,
            "attention_dropout": 0.0,
            "layer_norm_epsilon": 1e-6,
            "use_mha_bias": True,
            "use_mlp_bias": True,
            "use_class_token": True,
            "use_patch_bias": True,
        },
    )


def _dinov2(name: str, layers: int, heads: int, width: int, registers: int = 0) -> HubRow:
    return HubRow(
        name,
        "DINOv2",
        {
            "patch_size": 14,
            "num_layers": layers,
            "hidden_dim": width,
            "num_heads": heads,
            "intermediate_dim": 4 * width,
            "layer_scale_init_value": 1.0,
            "num_register_tokens": registers,
            "use_mask_token": True,  # never used here, but published files hold one
            "use_swiglu_ffn": False,
            "dropout_rate": 0.0,
            "drop_path_rate": 0.0,  # 0.32.0 neither rounds its mask nor draws one for each photo
            "antialias_in_interpolation": registers > 0,
            "apply_layernorm": False,
        },
    )


def _swin(name: str, width: int, third_depth: int, first_heads: int, window: int) -> HubRow:
    return HubRow(
        name,
        "Swin",
        {
            "patch_size": 4,
            "embed_dim": width,
            "depths": [2, 2, third_depth, 2],
            "num_heads": [first_heads * 2**stage for stage in range(4)],
            "window_size": window,
            "mlp_ratio": 4.0,
            "qkv_bias": True,
            "dropout_rate": 0.0,
            "attention_dropout": 0.0,
            "drop_path": 0.0,  # as in the other families, no layer is left out at random
            "patch_norm": True,
            "data_format": "channels_last",
        },
    )


HUB_ROWS: dict[str, HubRow] = {
    row.name: row
    for row in (
        _vit("ViTTiny16", 16, 12, 3, 192),
        _vit("ViTBase16", 16, 12, 12, 768),
        _vit("ViTBase32", 32, 12, 12, 768),
        _vit("ViTLarge16", 16, 24, 16, 1024),
        _dinov2("DINOv2Small", 12, 6, 384),
        _dinov2("DINOv2Base", 12, 12, 768),
        _dinov2("DINOv2Large", 24, 16, 1024),
        _dinov2("DINOv2RegSmall", 12, 6, 384, registers=4),
        _dinov2("DINOv2RegBase", 12, 12, 768, registers=4),
        _swin("SwinTiny", 96, 6, 3, 7),
        _swin("SwinSmall", 96, 18, 3, 7),
        _swin("SwinBase", 128, 18, 4, 7),
        _swin("SwinBase384", 128, 18, 4, 12),
        _swin("SwinLarge", 192, 18, 6, 7),
    )
}
