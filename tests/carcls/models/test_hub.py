"""Rows of KerasHub's backbones, and what is said without it. `tests/hub` has what needs it."""

from importlib.util import find_spec

import numpy as np
import pytest

from carcls.catalog import HUB_BACKBONES, PRESETS, nearest_sides
from carcls.config import TrainConfig
from carcls.errors import WeightsError
from carcls.models.classifier import build_classifier
from carcls.models.hub_rows import HUB_ROWS
from carcls.models.hub_weights import preset_file, resized_positions

STAGE = {"name": "head", "unfreeze": 0.0, "epochs": 1, "learning_rate": 1e-3}


def test_the_catalog_and_the_rows_agree():
    assert sorted(HUB_ROWS) == sorted(HUB_BACKBONES)
    for name, row in HUB_ROWS.items():
        info = HUB_BACKBONES[name]
        assert info.needs_hub
        assert info.side_step_px == row.reduction_px
        assert info.min_size_px % info.side_step_px == info.native_size_px % info.side_step_px == 0
        assert info.one_size == (row.family != "Swin")
        assert info.square_only == (row.family == "DINOv2")
        depth = row.settings.get("num_layers") or sum(row.settings["depths"]) + 3
        assert info.block_count == 1 + depth
        assert nearest_sides(info, info.native_size_px) == (info.native_size_px,)
    assert len(set(PRESETS)) == len(PRESETS)


def test_positions_are_resized_as_images_and_the_class_token_stays():
    ramp = np.arange(9, dtype=np.float32).reshape(3, 3)
    table = np.concatenate([[[-7.0, 7.0]], np.stack([ramp, ramp.T], axis=-1).reshape(9, 2)]).astype(np.float32)
    resized = resized_positions(table, (6, 3))
    assert resized.shape == (1 + 18, 2)
    np.testing.assert_array_equal(resized[0], [-7.0, 7.0])
    grid = resized[1:, 0].reshape(6, 3)
    assert (np.diff(grid, axis=0) > 0).all()  # the ramp goes on down the rows
    np.testing.assert_allclose(np.diff(grid, axis=1), 1.0, atol=1e-5)  # the width is the same
    np.testing.assert_allclose(resized_positions(table, (3, 3)), table, atol=1e-6)
    assert resized_positions(table[None], (6, 3)).shape == (1, 19, 2)


def test_without_kerashub_the_error_says_what_to_install():
    if find_spec("keras_hub") is not None:
        pytest.skip("keras_hub is installed")
    config = TrainConfig(backbone="ViTTiny16", weights="none", image_size=32, batch_size=2, stages=(STAGE,))
    with pytest.raises(WeightsError, match=r"ViTTiny16 is a backbone of KerasHub.*pip install 'carsearch\[hub\]'"):
        build_classifier(config, size_px=32, class_count=2, weights=None)


def test_the_newest_version_of_a_preset_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    folder = tmp_path / "models" / "keras" / "swin-transformer" / "keras" / "swin_tiny_patch4_window7_224"
    with pytest.raises(WeightsError, match=r"model_download\('keras/swin-transformer/keras/swin_tiny_patch4_window7_"):
        preset_file("SwinTiny", "swin_tiny_patch4_window7_224")
    for version in ("2", "10", "11"):
        (folder / version).mkdir(parents=True)
        if version != "11":  # begun, without weights
            (folder / version / "model.weights.h5").touch()
    assert preset_file("SwinTiny", "swin_tiny_patch4_window7_224") == folder / "10" / "model.weights.h5"
