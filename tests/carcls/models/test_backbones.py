"""Every row of the backbone table, against keras.applications itself."""

from importlib import import_module

import keras
import numpy as np
import pytest

from carcls.catalog import BACKBONES
from carcls.models.backbones import ROWS, build_backbone, imagenet_file, scale_pixels

# Building these takes seconds each; they are B0, scaled.
HEAVY = {f"EfficientNetB{number}" for number in range(1, 8)}
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in BACKBONES]


def pixels(size_px: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size_px, size_px, 3)).astype(np.float32)


def test_the_catalog_and_the_table_name_the_same_backbones():
    assert list(ROWS) == list(BACKBONES)


@pytest.mark.parametrize("name", BACKBONES)
def test_pixels_match_the_familys_own_preprocess_input(name):
    module = getattr(keras.applications, ROWS[name].module)
    x = pixels(8)
    expected = module.preprocess_input(x.copy())
    np.testing.assert_array_equal(np.asarray(scale_pixels(name, x)), expected)
    as_tensor = keras.ops.convert_to_numpy(scale_pixels(name, keras.ops.convert_to_tensor(x)))
    np.testing.assert_allclose(as_tensor, expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_builds_at_its_smallest_size_without_top(name):
    info = BACKBONES[name]
    backbone = build_backbone(name, info.alphas[0], info.min_size_px)
    assert backbone.name == "backbone"
    assert backbone.input_shape == (None, info.min_size_px, info.min_size_px, 3)
    assert len(backbone.output_shape) == 4
    assert 1 <= backbone.output_shape[1] <= 3


def test_alpha_widens_the_layers():
    narrow, wide = (build_backbone("MobileNet", alpha, 32).count_params() for alpha in (0.25, 0.5))
    assert wide > 3 * narrow


@pytest.mark.parametrize(
    ("name", "alpha"),
    [
        pytest.param(name, alpha, marks=[pytest.mark.slow] if name in HEAVY else [])
        for name, info in BACKBONES.items()
        for alpha in info.alphas
    ],
)
def test_imagenet_file_is_the_one_that_keras_asks_for(name, alpha, monkeypatch):
    """Keras is stopped where it would download, and its own request compared."""
    asked = {}

    class StopError(Exception):
        pass

    def record(fname, origin, file_hash=None, cache_subdir=None):
        asked.update(name=fname, url=origin, digest=file_hash, folder=cache_subdir)
        raise StopError

    source = import_module(f"keras.src.applications.{ROWS[name].module}")
    monkeypatch.setattr(source.file_utils, "get_file", record)
    width = {"alpha": alpha} if BACKBONES[name].has_alpha else {}
    with pytest.raises(StopError):
        getattr(source, name)(include_top=False, weights="imagenet", input_shape=(224, 224, 3), **width)
    file = imagenet_file(name, alpha)
    assert asked == {"name": file.name, "url": file.url, "digest": file.digest, "folder": "models"}
