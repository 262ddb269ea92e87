import keras
import numpy as np
import pytest

from carcls.models.backbones import build_backbone
from carcls.models.folding import fold_batch_norm

RNG = np.random.default_rng(0)


def trained(backbone: keras.Model) -> keras.Model:
    """Statistics and scales as after training: none is 0 or 1."""
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.weights:
                variable.assign(RNG.uniform(0.5, 1.5, variable.shape))
    return backbone


def frozen(backbone: keras.Model) -> keras.Model:
    for layer in backbone.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    return backbone


# Behind dense and depthwise kernels; a shift alone (no gamma); another family's pixel scaling.
@pytest.mark.parametrize(("name", "alpha"), [("MobileNetV2", 0.35), ("InceptionV3", 1.0), ("EfficientNetB0", 1.0)])
def test_a_folded_backbone_gives_the_same_outputs(name: str, alpha: float) -> None:
    backbone = frozen(trained(build_backbone(name, alpha, 96)))
    pixels = RNG.uniform(-1, 1, (2, 96, 96, 3)).astype("float32")
    before = np.asarray(backbone(pixels))
    names, config = [weight.path for weight in backbone.weights], backbone.get_config()

    fold_batch_norm(backbone)

    after = np.asarray(backbone(pixels))
    np.testing.assert_allclose(after, before, rtol=2e-4, atol=2e-5 * np.abs(before).max())
    assert np.abs(before).max() > 0
    assert [weight.path for weight in backbone.weights] == names
    assert backbone.get_config() == config


def test_other_weights_take_effect_only_after_folding_again() -> None:
    layer = keras.layers.BatchNormalization()
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layer(inputs))
    layer.trainable = False
    layer.set_weights([np.array([2.0, 3.0]), np.array([1.0, 0.0]), np.array([1.0, 2.0]), np.array([4.0, 1.0]) - 1e-3])
    fold_batch_norm(model)
    x = np.array([[3.0, 5.0]], dtype="float32")
    np.testing.assert_allclose(model(x, training=True), [[3.0, 9.0]], rtol=1e-6)  # (3 - 1) / 2 * 2 + 1, (5 - 2) * 3

    layer.set_weights([np.ones(2), np.zeros(2), np.zeros(2), np.ones(2) - 1e-3])
    fold_batch_norm(model)

    np.testing.assert_allclose(model(x), [[3.0, 5.0]], rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_computed_in_single_and_handed_on_in_half(policy: str) -> None:
    layer = keras.layers.BatchNormalization(dtype=policy)
    inputs = keras.Input((3,))
    model = trained(keras.Model(inputs, layer(inputs)))
    layer.trainable = False
    x = RNG.uniform(-4, 4, (5, 3)).astype("float32")
    before = model(x)

    fold_batch_norm(model)

    after = model(x)
    assert keras.backend.standardize_dtype(after.dtype) == policy.removeprefix("mixed_")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(after), keras.ops.convert_to_numpy(before))


def test_channels_that_are_not_last_are_left_to_keras() -> None:
    layer = keras.layers.BatchNormalization(axis=1)
    inputs = keras.Input((3, 4, 4))
    model = trained(keras.Model(inputs, layer(inputs)))
    layer.trainable = False
    x = RNG.uniform(-1, 1, (2, 3, 4, 4)).astype("float32")
    before = np.asarray(model(x))
    fold_batch_norm(model)
    np.testing.assert_array_equal(np.asarray(model(x)), before)


CONVOLUTIONS = {
    "dense": lambda: keras.layers.Conv2D(4, 3, use_bias=False),
    "dense, with a bias": lambda: keras.layers.Conv2D(4, 3, bias_initializer="ones"),
    "dense, in groups": lambda: keras.layers.Conv2D(6, 3, groups=3, strides=2, padding="same"),
    "depthwise": lambda: keras.layers.DepthwiseConv2D(3, use_bias=False),
    "depthwise, two outputs of each": lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
    "separable": lambda: keras.layers.SeparableConv2D(4, 3, dilation_rate=2, use_bias=False),
    "rectified": lambda: keras.layers.Conv2D(4, 3, activation="relu"),
}


def normalized(convolution: keras.layers.Layer) -> keras.Model:
    """pixels -> convolution -> frozen BatchNorm -> ReLU, with a loss that depends on each output."""
    inputs = keras.Input((9, 9, 3))
    outputs = keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm")(convolution(inputs)))
    return frozen(trained(keras.Model(inputs, outputs)))


def learned(model: keras.Model, pixels: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """The trainable variables after one step of gradient descent at rate 1."""
    model.compile(keras.optimizers.SGD(1.0), "mean_squared_error")
    model.train_on_batch(pixels, wanted)
    return [np.asarray(variable) for variable in model.trainable_variables]


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_folded_convolution_predicts_and_trains_as_before(kind: str) -> None:
    pixels = RNG.uniform(-1, 1, (2, 9, 9, 3)).astype("float32")
    plain = normalized(CONVOLUTIONS[kind]())
    folded = keras.models.clone_model(plain)
    folded.set_weights(plain.get_weights())
    fold_batch_norm(frozen(folded))
    answer = np.asarray(plain(pixels))
    wanted = RNG.uniform(-1, 1, answer.shape).astype("float32")

    np.testing.assert_allclose(np.asarray(folded(pixels)), answer, rtol=1e-5, atol=1e-6)
    before = [np.asarray(variable) for variable in plain.trainable_variables]
    after = learned(plain, pixels, wanted)
    assert all(np.abs(old - new).max() > 1e-3 for old, new in zip(before, after, strict=True))
    for ours, keras_own in zip(learned(folded, pixels, wanted), after, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-4, atol=1e-6)


def test_a_convolution_with_other_consumers_keeps_its_output() -> None:
    inputs = keras.Input((5, 5, 3))
    convolved = keras.layers.Conv2D(4, 1)(inputs)
    model = trained(keras.Model(inputs, [keras.layers.BatchNormalization()(convolved), convolved]))
    pixels = RNG.uniform(-1, 1, (2, 5, 5, 3)).astype("float32")
    before = [np.asarray(output) for output in frozen(model)(pixels)]

    fold_batch_norm(model)

    for after, expected in zip(model(pixels), before, strict=True):
        np.testing.assert_allclose(np.asarray(after), expected, rtol=1e-5, atol=1e-6)
