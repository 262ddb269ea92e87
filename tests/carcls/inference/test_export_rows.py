"""One backbone of each family, exported and loaded in safe mode by plain Keras."""

import gc

import keras
import numpy as np
import pytest

from carcls.catalog import BACKBONES
from carcls.config import StageConfig, TrainConfig
from carcls.inference.export import export_model, load_model
from carcls.models.classifier import build_classifier

QUICK = ("VGG16", "MobileNetV3Small")
FAMILIES = (
    *("ResNet50", "ResNet50V2", "InceptionV3", "Xception", "DenseNet121", "MobileNetV2"),
    *("NASNetMobile", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny"),
)
DEEPEST = pytest.param("InceptionResNetV2", marks=[pytest.mark.slow, pytest.mark.release])
"""Its 780 layers take CI as long as several other families."""


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES), DEEPEST])
def test_a_classifier_of_every_family_predicts_the_same_after_export(tmp_path, rng, name):
    size_px = BACKBONES[name].min_size_px
    config = TrainConfig(
        backbone=name,
        weights="none",
        image_size=size_px,
        batch_size=2,
        precision="float32",
        stages=(StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),),
    )
    classifier = build_classifier(config, size_px=size_px, class_count=3, weights=None)
    path = tmp_path / "model.keras"
    export_model(
        path, classifier, class_names=("a", "b", "c"), config=config, size_px=size_px, tta_views=("plain",), scores={}
    )
    loaded = load_model(path).model
    photos = rng.integers(0, 256, (2, size_px, size_px, 3), dtype=np.uint8)
    expected = pooled_features(classifier.model, photos)
    assert not np.array_equal(expected[0], expected[1]), "else any model would pass"
    np.testing.assert_array_equal(pooled_features(loaded, photos), expected)
    # Weights, not all variables: a .keras file does not keep the states of dropout's random numbers.
    for variable, saved in zip(loaded.weights, classifier.model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), np.asarray(saved), err_msg=saved.path)
    gc.collect()


def pooled_features(model: keras.Model, photos: np.ndarray) -> np.ndarray:
    """With random weights the softmax is the same for every photo, but the small features differ."""
    inside = keras.Model(model.input, model.get_layer("head_pool").output)
    return keras.ops.convert_to_numpy(inside(photos, training=False))
