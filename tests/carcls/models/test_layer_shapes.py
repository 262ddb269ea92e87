"""Layers as plain values: what Keras's graphs hold."""

from math import prod

import pytest

from carcls.config import StageConfig, TrainConfig
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.freezing import set_trainable
from carcls.models.layer_shapes import LayerShape, layer_shapes

STAGE = StageConfig(name="full", unfreeze=1.0, epochs=1, learning_rate=1e-3)


def _classifier(backbone: str, alpha: float, **more: object) -> Classifier:
    config = TrainConfig.model_validate(
        {"backbone": backbone, "alpha": alpha, "weights": "none", "image_size": 96, "batch_size": 8, "stages": [STAGE]}
        | more
    )
    return build_classifier(config, size_px=96, class_count=10, weights=None)


def _rows(classifier: Classifier, *, folded: bool) -> dict[str, LayerShape]:
    return {row.name: row for row in layer_shapes(classifier, folded=folded)}


@pytest.fixture(scope="module")
def mobile() -> Classifier:
    return _classifier("MobileNetV2", 0.35)


def test_every_weight_is_counted_once(mobile: Classifier) -> None:
    set_trainable(mobile, 1.0, batch_norm=False)
    rows = layer_shapes(mobile, folded=True)
    assert sum(row.weights for row in rows) == mobile.model.count_params()
    trained = sum(prod(variable.shape) for variable in mobile.model.trainable_variables)
    assert sum(row.trained_weights for row in rows) == trained


def test_inputs_name_layers_that_come_before(mobile: Classifier) -> None:
    rows = layer_shapes(mobile, folded=True)
    for number, row in enumerate(rows):
        assert set(row.inputs) <= {before.name for before in rows[:number]}, row
    assert rows[-1].name == "head_softmax"
    assert rows[-1].elements == 10


def test_the_shapes_of_some_layers(mobile: Classifier) -> None:
    set_trainable(mobile, 1.0, batch_norm=False)
    rows = _rows(mobile, folded=True)
    first, norm, depthwise = (rows[f"backbone/{name}"] for name in ("Conv1", "bn_Conv1", "expanded_conv_depthwise"))
    assert (first.kind, first.elements, first.weights, first.trained_weights) == ("Conv2D", 48 * 48 * 16, 432, 432)
    assert first.scaled_weights == 432
    assert (norm.is_alias, norm.weights, norm.trained_weights) == (True, 64, 0)
    assert depthwise.channel_kernel == (9, 16)
    assert rows["head_pool"].inputs == ("backbone/out_relu",)
    set_trainable(mobile, 1.0, batch_norm=True)
    trained = _rows(mobile, folded=False)
    assert not trained["backbone/bn_Conv1"].is_alias
    assert trained["backbone/bn_Conv1"].trained_weights == 32
    assert trained["backbone/Conv1"].scaled_weights == 0


def test_a_separable_convolution_and_an_activation_inside_a_layer() -> None:
    rows = _rows(_classifier("Xception", 1.0), folded=True)
    half = rows["backbone/block2_sepconv1"]
    assert half.channel_kernel == (9, 64)
    assert half.inner_elements == half.elements // 128 * 64, "64 channels come in, 128 go out"
    squeeze = _rows(_classifier("EfficientNetB0", 1.0), folded=True)["backbone/block1a_se_reduce"]
    assert (squeeze.elements, squeeze.inner_elements) == (8, 8)


def test_half_precision() -> None:
    rows = _rows(_classifier("MobileNetV2", 0.35, precision="bfloat16"), folded=True)
    assert rows["backbone/Conv1"].bytes_each == 2
    assert rows["backbone/Conv1"].scaled_weights == 0, "folding scales only float32 kernels"
    assert rows["head_softmax"].bytes_each == 4
