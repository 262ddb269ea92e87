"""The whole classifier: shapes, names, seeds, precision, and loading without our code."""

import random

import keras
import numpy as np
import pytest
from keras.src.backend.common import global_state

from carcls.config import HeadConfig, StageConfig, TrainConfig
from carcls.errors import WeightsError
from carcls.models.classifier import Classifier, build_classifier

STAGES = (StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),)


def build(**changes) -> Classifier:
    values = {"backbone": "MobileNet", "alpha": 0.25, "image_size": 32, "precision": "float32", "seed": 0} | changes
    config = TrainConfig(weights="none", batch_size=4, stages=STAGES, **values)
    return build_classifier(config, size_px=config.image_size, class_count=3, weights=None)


def arrays(model: keras.Model) -> dict[str, np.ndarray]:
    return {variable.path: np.array(keras.ops.convert_to_numpy(variable)) for variable in model.variables}


def photos(size_px: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size_px, size_px, 3), dtype=np.uint8)


def test_bytes_and_floats_of_pixels_give_the_same_float32_softmax():
    model = build().model
    from_bytes = model.predict(photos(), verbose=0)
    assert from_bytes.dtype == np.float32
    assert from_bytes.shape == (2, 3)
    np.testing.assert_allclose(from_bytes.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(model.predict(photos().astype(np.float32), verbose=0), from_bytes)


def test_the_backbone_sees_its_familys_scaling():
    classifier = build()
    scaled = keras.applications.mobilenet.preprocess_input(photos().astype(np.float32))
    by_hand = keras.ops.mean(classifier.backbone(scaled), axis=(1, 2))
    inside = keras.Model(classifier.model.input, classifier.model.get_layer("head_pool").output)
    np.testing.assert_allclose(inside(photos()), by_hand, rtol=1e-4, atol=1e-7)


def test_head_has_the_parts_that_the_configuration_names():
    head = HeadConfig(pooling="max", batch_norm=False, units=5, dropout=0.3, l2=1e-3)
    model = build(head=head, seed=7).model
    parts = [layer for layer in model.layers if layer.name.startswith("head_")]
    assert [layer.name for layer in parts] == ["head_pool", "head_dense", "head_dropout", "head_logits", "head_softmax"]
    assert isinstance(parts[0], keras.layers.GlobalMaxPooling2D)
    assert parts[1].units == 5
    assert (parts[2].rate, parts[2].seed) == (0.3, 7)
    assert parts[1].kernel_regularizer.l2 == parts[3].kernel_regularizer.l2 == pytest.approx(1e-3)
    assert [layer.name for layer in build().model.layers][-5:] == [
        "head_pool",
        "head_batch_norm",
        "head_dropout",
        "head_logits",
        "head_softmax",
    ]


def test_a_head_of_your_own_has_its_layers_in_order():
    parts = [
        {"kind": "dense", "width": 128, "bias": False, "l2": 1e-2},
        {"kind": "batch_norm"},
        {"kind": "relu"},
        {"kind": "dropout", "rate": 0.25},
    ]
    model = build(head=HeadConfig.model_validate({"layers": parts, "l2": 1e-3})).model
    names = [layer.name for layer in model.layers if layer.name.startswith("head_")]
    assert names == [
        "head_pool", "head_0_dense", "head_1_batch_norm", "head_2_relu", "head_3_dropout",
        "head_logits", "head_softmax",
    ]  # fmt: skip
    dense, norm, relu, dropout = (model.get_layer(name) for name in names[1:5])
    assert (dense.units, dense.use_bias, dense.activation) == (128, False, keras.activations.linear)
    assert dense.kernel_regularizer.l2 == pytest.approx(1e-2)
    assert model.get_layer("head_logits").kernel_regularizer.l2 == pytest.approx(1e-3)
    assert isinstance(norm, keras.layers.BatchNormalization)
    assert isinstance(relu, keras.layers.ReLU)
    assert dropout.rate == 0.25


def test_a_head_without_layers_of_its_own_is_linear():
    model = build(head=HeadConfig(layers=())).model
    assert [layer.name for layer in model.layers][-3:] == ["head_pool", "head_logits", "head_softmax"]


@pytest.mark.parametrize(("name", "alpha", "size_px"), [("Xception", 1.0, 71), ("InceptionV3", 1.0, 75)])
def test_paths_do_not_depend_on_what_the_process_built_before(name, alpha, size_px):
    """These two name layers automatically, with process-wide counters."""
    first = build(backbone=name, alpha=alpha, image_size=size_px).model
    keras.layers.Conv2D(1, 1)
    second = build(backbone=name, alpha=alpha, image_size=size_px).model
    paths = [variable.path for variable in first.variables]
    assert paths == [variable.path for variable in second.variables]
    assert len(set(paths)) == len(paths)


def test_building_leaves_the_process_as_it_was():
    keras.layers.Conv2D(1, 1)
    before = (
        random.getstate(),
        dict(global_state.get_global_attribute("object_name_uids")),
        keras.config.dtype_policy(),
    )
    build(precision="bfloat16")
    after = (
        random.getstate(),
        dict(global_state.get_global_attribute("object_name_uids")),
        keras.config.dtype_policy(),
    )
    assert before == after


def test_the_seed_alone_decides_the_weights():
    random.seed(1)
    one = arrays(build(head=HeadConfig(units=4)).model)
    random.seed(2)
    same = arrays(build(head=HeadConfig(units=4)).model)
    other = arrays(build(head=HeadConfig(units=4), seed=1).model)
    assert list(one) == list(same)
    for path, value in one.items():
        np.testing.assert_array_equal(value, same[path], err_msg=path)
    for path in ("conv1/kernel", "conv_pw_13/kernel", "head_dense/kernel", "head_logits/kernel"):
        assert not np.array_equal(one[path], other[path]), path


def test_half_precision_ends_in_a_float32_softmax():
    classifier = build(precision="bfloat16")
    assert classifier.backbone.get_layer("conv1").compute_dtype == "bfloat16"
    assert {variable.dtype for variable in classifier.model.trainable_variables} == {"float32"}
    found = classifier.model.predict(photos(), verbose=0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, build().model.predict(photos(), verbose=0), atol=0.02)


@pytest.mark.parametrize("name", ["MobileNet", pytest.param("EfficientNetB0", marks=pytest.mark.slow)])
def test_a_saved_classifier_loads_in_safe_mode(tmp_path, name):
    classifier = build(backbone=name, alpha=0.25 if name == "MobileNet" else 1.0)
    classifier.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded.predict(photos(), verbose=0), classifier.model.predict(photos(), verbose=0))


def test_a_file_that_does_not_fit_is_refused_with_the_backbones_name(tmp_path):
    path = tmp_path / "wrong.npz"
    np.savez(path, paths=np.array([], "U1"), meta="{}")
    config = TrainConfig(backbone="MobileNet", alpha=0.25, image_size=32, batch_size=4, stages=STAGES)
    with pytest.raises(WeightsError, match=r"MobileNet with alpha 0\.25.*wrong\.npz.*end of the file.*conv1/kernel"):
        build_classifier(config, size_px=32, class_count=3, weights=path)
