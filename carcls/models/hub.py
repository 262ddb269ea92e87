"""Backbones of KerasHub, an extra: built as they are there, cut into blocks, their tokens made a map of features.

Nothing else imports keras_hub, and this file does so only to build one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import keras

from carcls.catalog import HUB_INSTALL
from carcls.errors import WeightsError
from carcls.frames import Size, frame_of
from carcls.models.hub_rows import HUB_ROWS


@dataclass(frozen=True, slots=True)
class HubBlock:
    """Layers inside a backbone of KerasHub that freeze together."""

    layers: dict[str, keras.Layer]
    """By name; the last one ends the block."""


def build_hub_backbone(name: str, size_px: Size) -> keras.Model:
    """The backbone of KerasHub, randomly initialised: scaled pixels (b, height, width, 3) -> tokens (b, n, channels).

    Raises WeightsError without KerasHub.
    """
    try:
        import keras_hub  # noqa: PLC0415 - an extra, and a second to import
    except ImportError as error:
        raise WeightsError(
            f"{name} is a backbone of KerasHub, which cannot be imported ({error}): {HUB_INSTALL}"
        ) from (error)
    row, shape = HUB_ROWS[name], frame_of(size_px).shape
    # DINOv2's positions for this size and no other: KerasHub would keep a second table of the size trained for, from
    # which a saved model takes its positions again.
    positions = {"position_embedding_shape": shape} if row.family == "DINOv2" else {}
    backbone = getattr(keras_hub.models, row.class_name)(image_shape=shape, **row.settings, **positions)
    freeze_unused(name, backbone)
    return backbone


def hub_blocks(name: str, backbone: keras.Model) -> tuple[HubBlock, ...]:
    """The backbone's blocks from input to output: the embedding of patches, then each transformer block.

    The last normalisation belongs to the block before it. Swin's merging of patches is a block of its own, as
    ConvNeXt's downsampling is. Every weight is in exactly one.
    """
    blocks: list[HubBlock] = []
    for layer_name, layer in _freezable(name, backbone):
        if isinstance(layer, keras.layers.LayerNormalization):
            blocks[-1].layers[layer_name] = layer
        else:
            blocks.append(HubBlock({layer_name: layer}))
    return tuple(blocks)


def freeze_unused(name: str, backbone: keras.Model) -> None:
    """Freezes what takes no part in training. Call it whenever layers were made trainable.

    DINOv2's mask token is used nowhere here. Its positions do not train, since KerasHub 0.32 saves them only if the
    sum of their changes is above zero, so that a saved model could lose what they learned.
    """
    if HUB_ROWS[name].family == "DINOv2":
        embeddings = backbone.get_layer("embeddings")
        embeddings.mask_token.trainable = False
        embeddings.interpolated_position_embeddings.trainable = False


def hub_features(name: str, backbone: keras.Model, x: keras.KerasTensor, size_px: Size) -> keras.KerasTensor:
    """Scaled pixels (b, height, width, 3) -> features (b, h, w, channels) of the patches, without class token and
    registers."""
    row, frame = HUB_ROWS[name], frame_of(size_px)
    tokens = backbone({"images": x} if row.family == "DINOv2" else x)
    side = row.reduction_px
    if row.extra_tokens:
        tokens = keras.layers.Cropping1D((row.extra_tokens, 0), name="backbone_patches")(tokens)
    shape = (frame.height // side, frame.width // side, tokens.shape[-1])
    return keras.layers.Reshape(shape, name="backbone_map")(tokens)


def _freezable(name: str, backbone: keras.Model) -> Iterator[tuple[str, keras.Layer]]:
    """The layers with weights that freeze as a whole, input to output, by names that say where they are."""
    match HUB_ROWS[name].family:
        case "ViT":
            encoder = backbone.get_layer("vit_encoder")
            layers = [
                backbone.get_layer("vit_patching_and_embedding"),
                *encoder.encoder_layers,
                encoder.layer_norm,
            ]
        case "DINOv2":
            encoder = backbone.get_layer("encoder")
            layers = [backbone.get_layer("embeddings"), *encoder.layers, backbone.get_layer("layernorm")]
        case "Swin":
            layers = [backbone.get_layer("patch_embedding")]
            for number in range(len(HUB_ROWS[name].settings["depths"])):
                stage = backbone.get_layer(f"stage_{number}")
                layers += [*stage.blocks, *([stage.downsample] if stage.downsample is not None else [])]
            layers.append(backbone.get_layer("norm"))
    for layer in layers:
        yield layer.path, layer
