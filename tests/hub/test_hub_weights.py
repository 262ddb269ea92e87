"""Weights of KerasHub: files of other image sizes, presets in kagglehub's folder, and files that do not fit."""

import numpy as np
import pytest

from carcls.config import StageConfig, TrainConfig
from carcls.errors import MisfitError, WeightsError
from carcls.models.backbones import build_backbone
from carcls.models.classifier import build_classifier, check_weights
from carcls.models.hub_weights import resized_positions
from carcls.models.weights import load_backbone_weights, resolve_weights

pytestmark = [pytest.mark.slow, pytest.mark.release]


def values(backbone) -> dict[str, np.ndarray]:
    return {weight.path: np.array(weight) for weight in backbone.weights}


@pytest.mark.parametrize(
    ("name", "tables", "sizes", "grid"),
    [
        ("ViTTiny16", {"vit_patching_and_embedding/position_embedding/embeddings"}, (64, 48), (3, 3)),
        (
            "DINOv2Small",
            {"embeddings/position_embeddings", "embeddings/interpolated_position_embeddings"},
            (70, 42),
            (3, 3),
        ),
    ],
)
def test_a_file_of_another_image_size_fits_but_for_its_positions(tmp_path, name, tables, sizes, grid):
    one, other = (build_backbone(name, 1.0, size_px) for size_px in sizes)
    one.save_weights(tmp_path / "one.weights.h5")
    load_backbone_weights(other, tmp_path / "one.weights.h5", name)
    before, after = values(one), values(other)
    for path, found in after.items():
        expected = resized_positions(before[path], grid) if path in tables else before[path]
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=path)
    assert all(before[path].shape != after[path].shape for path in tables)


def test_a_file_of_the_same_size_is_loaded_as_it_is(tmp_path):
    one, other = (build_backbone("ViTTiny16", 1.0, 32) for _ in range(2))
    one.save_weights(tmp_path / "one.weights.h5")
    load_backbone_weights(other, tmp_path / "one.weights.h5", "ViTTiny16")
    for path, found in values(other).items():
        np.testing.assert_array_equal(found, values(one)[path])


def test_a_file_of_another_backbone_is_refused_and_changes_nothing(tmp_path):
    build_backbone("DINOv2Small", 1.0, 42).save_weights(tmp_path / "other.weights.h5")
    backbone = build_backbone("ViTTiny16", 1.0, 32)
    before = values(backbone)
    with pytest.raises(MisfitError, match=r"other\.weights\.h5 does not fit the backbone"):
        load_backbone_weights(backbone, tmp_path / "other.weights.h5", "ViTTiny16")
    for path, found in values(backbone).items():
        np.testing.assert_array_equal(found, before[path])


def test_a_preset_is_taken_from_kagglehubs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    stage = StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3)
    config = TrainConfig(
        backbone="DINOv2Small",
        weights="dinov2_small",
        image_size=42,
        batch_size=2,
        precision="float32",
        stages=(stage,),
    )
    with pytest.raises(WeightsError, match=r"dinov2_small is not in .*kagglehub\.model_download\('keras/dinov2/"):
        check_weights(config)
    folder = tmp_path / "models" / "keras" / "dinov2" / "keras" / "dinov2_small"
    published = build_backbone("DINOv2Small", 1.0, 70)
    for version in ("9", "10"):
        (folder / version).mkdir(parents=True)
        published.save_weights(folder / version / "model.weights.h5")
    assert resolve_weights(config) == folder / "10" / "model.weights.h5"
    assert resolve_weights(config.model_copy(update={"weights": "imagenet"})) == folder / "10" / "model.weights.h5"
    classifier = build_classifier(config, size_px=42, class_count=2, weights=resolve_weights(config))
    same = "encoder/layers_11/mlp/fc2/kernel"
    np.testing.assert_array_equal(values(classifier.backbone)[same], values(published)[same])
