"""Each optimizer compared with its published rule in NumPy, and variables exempt from weight decay."""

import keras
import numpy as np
import pytest
from keras.src.applications.convnext import LayerScale
from numpy.typing import NDArray

from carcls.config import OptimizerConfig
from carcls.training.steps.optimizers import RateTable, average_weights, is_decayed, make_optimizer

RATES = np.array([0.1, 0.05, 0.2], np.float32)
KERNEL = np.array([[1.0, -2.0], [0.5, 4.0]])
BIAS = np.array([1.0, -3.0])
GRADIENTS = [
    (np.array([[0.3, -0.1], [2.0, 0.0]]), np.array([0.5, -1.0])),
    (np.array([[-0.2, 0.4], [0.1, -3.0]]), np.array([0.1, 0.2])),
    (np.array([[0.01, 0.0], [0.3, 0.2]]), np.array([-0.7, 0.0])),
]


def optimizer_steps(settings: OptimizerConfig, **extensions) -> tuple[NDArray, ...]:
    """Kernel and bias after one step for each rate of RATES, and with EMA their averages."""
    kernel, bias = (
        keras.Variable(values, dtype="float32", name=name) for values, name in ((KERNEL, "kernel"), (BIAS, "bias"))
    )
    optimizer = make_optimizer(settings, RateTable(RATES), [kernel, bias], **extensions)
    optimizer.build([kernel, bias])
    for gradients in GRADIENTS:
        optimizer.apply([keras.ops.convert_to_tensor(one, dtype="float32") for one in gradients])
    optimizer.finalize_variable_values([kernel, bias])  # as `fit` does after each epoch
    return tuple(keras.ops.convert_to_numpy(one) for one in (kernel, bias, *average_weights(optimizer)))


def by_hand(settings: OptimizerConfig, factors: tuple[float, float] = (1.0, 1.0), ema: float = 0.0) -> list[NDArray]:
    """The same as in the papers: clip by global norm, decay the kernel, then apply the optimizer's rule."""
    averages: list[NDArray] = []
    values = [KERNEL.copy(), BIAS.copy()]
    memory = [{"m": np.zeros_like(one), "v": np.zeros_like(one), "most": np.zeros_like(one)} for one in values]
    for step, (rate, gradients) in enumerate(zip(RATES.astype(float), GRADIENTS, strict=True), start=1):
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
        scale = min(1.0, settings.clip_norm / norm) if settings.clip_norm else 1.0
        values[0] = values[0] * (1 - rate * factors[0] * settings.weight_decay)
        for place, gradient in enumerate(gradients):
            own_rate = rate * factors[place]
            values[place] = values[place] - _update(settings, gradient * scale, memory[place], own_rate, step)
        before = averages or values  # the average starts from the weights after the first step
        averages = [ema * old + (1 - ema) * new for old, new in zip(before, values, strict=True)]
    return [*values, *averages] if ema else values


def _update(settings: OptimizerConfig, gradient: NDArray, memory: dict, rate: float, step: int) -> NDArray:
    if settings.kind in ("adam", "adamw"):  # Kingma & Ba 2015
        memory["m"] = 0.9 * memory["m"] + 0.1 * gradient
        memory["v"] = 0.999 * memory["v"] + 0.001 * gradient**2
        unbiased = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        memory["most"] = np.maximum(memory["most"], memory["v"])  # Reddi et al. 2018, AMSGrad
        second = memory["most"] if settings.amsgrad else memory["v"]
        return rate * unbiased * memory["m"] / (np.sqrt(second) + 1e-7)
    if settings.kind == "sgd":  # Nesterov's momentum as in Sutskever et al. 2013
        memory["m"] = settings.momentum * memory["m"] + rate * gradient
        return settings.momentum * memory["m"] + rate * gradient
    memory["v"] = 0.9 * memory["v"] + 0.1 * gradient**2  # Hinton's RMSprop, with momentum on the scaled steps
    memory["m"] = settings.momentum * memory["m"] + rate * gradient / np.sqrt(memory["v"] + 1e-7)
    return memory["m"]


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "adam"},
        {"kind": "adam", "clip_norm": 1.0},
        {"kind": "adam", "amsgrad": True},
        {"kind": "adamw", "weight_decay": 0.3},
        {"kind": "adamw", "weight_decay": 0.3, "clip_norm": 0.5},
        {"kind": "sgd", "momentum": 0.0},
        {"kind": "sgd", "momentum": 0.8, "weight_decay": 0.3, "clip_norm": 1.0},
        {"kind": "rmsprop", "momentum": 0.0},
        {"kind": "rmsprop", "momentum": 0.8, "weight_decay": 0.3, "clip_norm": 1.0},
    ],
    ids=lambda values: "-".join(str(value) for value in values.values()),
)
def test_steps_are_those_of_the_published_rule(values):
    settings = OptimizerConfig.model_validate(values)
    for stepped, expected in zip(optimizer_steps(settings), by_hand(settings), strict=True):
        np.testing.assert_allclose(stepped, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "adamw", "weight_decay": 0.3, "clip_norm": 0.5, "amsgrad": True},
        {"kind": "sgd", "momentum": 0.8, "weight_decay": 0.3},
        {"kind": "rmsprop", "momentum": 0.8, "clip_norm": 1.0},
    ],
    ids=lambda values: values["kind"],
)
def test_each_variable_has_its_own_rate_and_average(values):
    settings, factors = OptimizerConfig.model_validate(values), (0.25, 1.0)
    stepped = optimizer_steps(settings, factors=factors, ema=0.6)
    assert len(stepped) == 4
    for found, expected in zip(stepped, by_hand(settings, factors, 0.6), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_adamw_without_decay_is_adam_bit_for_bit():
    adam, adamw = (optimizer_steps(OptimizerConfig(kind=kind)) for kind in ("adam", "adamw"))
    for one, other in zip(adam, adamw, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_gradient_below_the_norm_is_left_alone():
    loose = optimizer_steps(OptimizerConfig(kind="sgd", clip_norm=100.0))
    for one, other in zip(loose, optimizer_steps(OptimizerConfig(kind="sgd")), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_kernels_of_every_kind_of_layer_are_decayed_and_nothing_else():
    layers = keras.layers
    inputs = keras.Input((8, 8, 4))
    x = inputs
    for layer in (
        layers.Conv2D(4, 3, name="conv"),
        layers.DepthwiseConv2D(3, padding="same", name="depthwise"),
        layers.SeparableConv2D(4, 3, padding="same", name="separable"),
        layers.BatchNormalization(name="batch_norm"),
        layers.LayerNormalization(name="layer_norm"),
        LayerScale(1e-6, 4, name="layer_scale"),
        layers.Flatten(name="flatten"),
        layers.Dense(2, name="dense"),
    ):
        x = layer(x)
    model = keras.Model(inputs, x)
    assert {variable.path for variable in model.trainable_variables if is_decayed(variable)} == {
        "conv/kernel",
        "depthwise/kernel",
        "separable/depthwise_kernel",
        "separable/pointwise_kernel",
        "dense/kernel",
    }
    assert len(model.trainable_variables) == 5 + 4 + 2 + 2 + 1  # and four biases, two pairs of scale and shift, a scale


def test_a_transformer_decays_its_kernels_but_no_bias_token_or_position():
    """Whatever its number of axes: a bias of attention has two, one for each head."""
    patches = keras.Input((4, 6))
    x = Tokens(name="tokens")(patches)
    x = keras.layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    model = keras.Model(patches, keras.layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d", name="mixed")(x))
    assert {variable.path for variable in model.trainable_variables if is_decayed(variable)} == {
        *(f"attention/{part}/kernel" for part in ("query", "key", "value", "attention_output")),
        "mixed/kernel",
    }
    exempt = {variable.path: len(variable.shape) for variable in model.trainable_variables if not is_decayed(variable)}
    assert exempt == {
        "tokens/cls_token": 3,
        "tokens/relative_position_bias_table": 2,
        "tokens/position_embedding/embeddings": 2,
        **{f"attention/{part}/bias": 2 for part in ("query", "key", "value")},
        "attention/attention_output/bias": 1,
        "mixed/bias": 1,
    }


class Tokens(keras.layers.Layer):
    """A class token and positions, shaped and named as in KerasHub's ViT and Swin."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="cls_token")
        self.bias = self.add_weight(shape=(shape[1] + 1, shape[-1]), name="relative_position_bias_table")
        self.positions = keras.layers.Embedding(shape[1] + 1, shape[-1], name="position_embedding")
        self.positions.build((1, shape[1] + 1))

    def call(self, patches):
        token = self.token + keras.ops.zeros_like(patches[:, :1])
        own = self.bias + self.positions(keras.ops.arange(patches.shape[1] + 1))
        return keras.ops.concatenate([token, patches], axis=1) + own


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "rmsprop"])
def test_a_rate_that_is_a_number_can_be_lowered_between_epochs(kind):
    """Lowers the learning rate as a plateau does."""
    kernel = keras.Variable(KERNEL, dtype="float32")
    optimizer = make_optimizer(OptimizerConfig(kind=kind, momentum=0.0), 0.1, [kernel])
    optimizer.build([kernel])
    moved = []
    for rate in (0.1, 0.001):
        optimizer.learning_rate = rate
        before = keras.ops.convert_to_numpy(kernel)
        optimizer.apply([keras.ops.ones((2, 2))])
        moved.append(np.abs(keras.ops.convert_to_numpy(kernel) - before).max())
    assert moved[1] < 0.03 * moved[0]
