"""Pixel scaling and weights file of each row, compared with keras.applications."""

from importlib import import_module

import keras
import numpy as np
import pytest

from carcls.catalog import BACKBONES
from carcls.models.backbone_rows import ROWS
from carcls.models.backbones import build_backbone, imagenet_file, scale_pixels

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
STANDARDISED = (-MEAN / DEVIATION, (1 - MEAN) / DEVIATION)
RESCALED = {  # scaled values of pixels 0 and 255
    "MobileNetV3Small": (-1, 1),
    "ConvNeXtTiny": STANDARDISED,
    "EfficientNetV2B0": STANDARDISED,
    "EfficientNetV2S": (-1, 255 / 128 - 1),
}


def pixels(size_px: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size_px, size_px, 3)).astype(np.float32)


def test_the_catalog_and_the_table_name_the_same_backbones():
    assert list(ROWS) == list(BACKBONES)


def test_every_classifier_of_keras_applications_has_a_row():
    builders = {name for name in vars(keras.applications) if name[0].isupper()}
    assert builders == set(ROWS)


@pytest.mark.parametrize("name", BACKBONES)
def test_pixels_match_the_familys_own_preprocess_input(name):
    module = getattr(keras.applications, ROWS[name].module)
    x = pixels(8)
    expected = module.preprocess_input(x.copy())
    np.testing.assert_array_equal(np.asarray(scale_pixels(name, x)), expected)
    as_tensor = keras.ops.convert_to_numpy(scale_pixels(name, keras.ops.convert_to_tensor(x)))
    np.testing.assert_allclose(as_tensor, expected, atol=1e-6)
    symbolic = keras.Input((8, 8, 3))
    in_a_graph = keras.Model(symbolic, scale_pixels(name, symbolic))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(in_a_graph(x)), expected, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["MobileNetV3Small", "ConvNeXtTiny", "EfficientNetV2B0", pytest.param("EfficientNetV2S", marks=pytest.mark.slow)],
)
def test_backbones_for_raw_pixels_rescale_inside_under_any_name(name):
    """Their preprocess_input does nothing, and EfficientNetV2 selects its rescaling by the model's name."""
    backbone = build_backbone(name, 1.0, 32)
    assert backbone.name == "backbone"
    assert backbone.input_shape == (None, 32, 32, 3)
    assert backbone.output_shape[:3] == (None, 1, 1)
    first = next(layer for layer in backbone.layers if layer.weights)
    seen = keras.ops.convert_to_numpy(keras.Model(backbone.input, first.input)(pixels(32)))
    lowest, highest = RESCALED[name]
    np.testing.assert_allclose(seen.min(axis=(0, 1, 2)), lowest, atol=0.01)
    np.testing.assert_allclose(seen.max(axis=(0, 1, 2)), highest, atol=0.01)


def test_alpha_widens_the_layers():
    narrow, wide = (build_backbone("MobileNet", alpha, 32).count_params() for alpha in (0.25, 0.5))
    assert wide > 3 * narrow


class _StandIn:
    """Replaces `keras.src.layers` to make builders fast: every layer returns the same symbolic tensor."""

    def __init__(self) -> None:
        self.tensor = keras.KerasTensor((None, 8, 8, 24))

    def __getattr__(self, name: str):
        if name == "Input" or name[0].islower():  # `add`, `concatenate`: functions, not layers
            return lambda *args, **kwargs: self.tensor
        return lambda *args, **kwargs: lambda inputs: self.tensor


@pytest.mark.parametrize(
    ("name", "alpha"), [(name, alpha) for name, info in BACKBONES.items() for alpha in info.alphas]
)
def test_imagenet_file_is_the_one_that_keras_asks_for(name, alpha, monkeypatch):
    """Runs Keras's own builder with fake layers until it requests its weights."""
    asked = {}

    class StopError(Exception):
        pass

    def record(fname, origin, file_hash=None, cache_subdir=None):
        asked.update(name=fname, url=origin, digest=file_hash, folder=cache_subdir)
        raise StopError

    source = import_module(f"keras.src.applications.{ROWS[name].module}")
    builds = getattr(source, "resnet", source)  # ResNetV2 is built by resnet's functions
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", record)
    for attribute, stand_in in (
        ("layers", _StandIn()),
        ("ConvNeXtBlock", lambda **kwargs: lambda inputs: inputs),
        ("CustomScaleLayer", lambda scale: lambda inputs: inputs[0]),
        ("Functional", lambda *args, **kwargs: None),
        ("Sequential", lambda *args, **kwargs: lambda inputs: inputs),
    ):
        monkeypatch.setattr(builds, attribute, stand_in, raising=attribute == "layers")
    width = {"alpha": alpha} if BACKBONES[name].has_alpha else {}
    with pytest.raises(StopError):
        getattr(source, name)(include_top=False, weights="imagenet", input_shape=(224, 224, 3), **width)
    file = imagenet_file(name, alpha)
    assert asked == {"name": file.name, "url": file.url, "digest": file.digest, "folder": "models"}
