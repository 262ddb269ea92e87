"""The predicted memory of a training step, from layers as plain values."""

from dataclasses import replace

import pytest

from carcls.models.layer_shapes import LayerShape, with_scaled_kernels
from carcls.models.memory_need import SURE, Optimizer, kept_tensors, largest_fitting, memory_need

ADAM = Optimizer("adam")
CHAIN = (
    LayerShape("photos", "InputLayer", (), 300, is_alias=True),
    LayerShape("conv", "Conv2D", ("photos",), 1000, weights=30, trained_weights=30),
    LayerShape("norm", "BatchNormalization", ("conv",), 1000, weights=8, is_alias=True),
    LayerShape("relu", "ReLU", ("norm",), 1000),
    LayerShape("top", "Conv2D", ("relu",), 500, weights=70, trained_weights=70),
)


def test_what_the_gradient_needs_is_kept() -> None:
    """The first kernel's gradient needs the photos, the ReLU its argument, the second kernel the ReLU's result."""
    assert kept_tensors(CHAIN) == {"photos": 1, "conv": 3, "relu": 4}


def test_nothing_is_kept_below_the_lowest_layer_that_trains() -> None:
    frozen = (CHAIN[0], replace(CHAIN[1], trained_weights=0), *CHAIN[2:])
    assert kept_tensors(frozen) == {"relu": 4}


def test_a_sum_keeps_nothing_and_a_product_both_sides() -> None:
    tail = (LayerShape("bend", "Multiply", ("top", "relu"), 500), LayerShape("sum", "Add", ("top", "bend"), 500))
    assert kept_tensors((*CHAIN, *tail)) == {"photos": 1, "conv": 3, "relu": 4, "top": 5}


def test_the_bytes_of_a_small_network() -> None:
    need = memory_need(CHAIN, photos=10, optimizer=ADAM)
    assert need.weights == 4 * 108
    assert need.slots == 4 * 2 * 100
    assert need.photos == 4 * 300 * 10
    # When the gradient passes `top`: two kept tensors, two gradients of activations, the gradient of its kernel.
    assert need.step == 4 * (10 * (1000 + 1000) + 10 * (500 + 1000) + 70)
    assert need.total == need.weights + need.slots + need.photos + need.step


def test_half_precision_halves_activations_and_copies_the_weights() -> None:
    half = [replace(layer, bytes_each=2) for layer in CHAIN]
    need = memory_need(half, photos=1000, optimizer=ADAM)
    whole = memory_need(CHAIN, photos=1000, optimizer=ADAM)
    assert need.weights == (4 + 2) * 108
    assert need.slots == whole.slots
    assert need.step == pytest.approx(whole.step / 2, rel=1e-3)


@pytest.mark.parametrize(
    ("optimizer", "values"),
    [
        (Optimizer("sgd"), 1),
        (Optimizer("adamw"), 2),
        (Optimizer("adam", amsgrad=True), 3),
        (Optimizer("sgd", amsgrad=True), 1),
        (Optimizer("rmsprop", ema=True), 3),
        (Optimizer("adam", ema=True, accumulates=True), 4),
    ],
)
def test_what_optimizers_keep(optimizer: Optimizer, values: int) -> None:
    assert memory_need(CHAIN, photos=1, optimizer=optimizer).slots == 4 * 100 * values


def test_kernels_scaled_by_a_folded_norm_are_held_twice() -> None:
    scaled = with_scaled_kernels(CHAIN)
    assert [layer.scaled_weights for layer in scaled] == [0, 30, 0, 0, 0]
    more = memory_need(scaled, photos=10, optimizer=ADAM).step - memory_need(CHAIN, photos=10, optimizer=ADAM).step
    assert more == 4 * 30
    shared = [*CHAIN, LayerShape("again", "Add", ("conv", "top"), 500)]
    assert with_scaled_kernels(shared)[1].scaled_weights == 0, "a kernel with another consumer stays as it is"


def test_a_cpu_computes_a_channel_kernels_gradient_through_all_channels() -> None:
    deep = [*CHAIN[:4], replace(CHAIN[4], kind="DepthwiseConv2D", channel_kernel=(9, 20))]
    gpu = memory_need(deep, photos=10, optimizer=ADAM)
    cpu = memory_need(deep, photos=10, optimizer=ADAM, device="cpu")
    assert cpu.step - gpu.step == 2 * 4 * 9 * 20 * 20


def _need(photos: int, *, accumulates: bool) -> int:
    return memory_need(CHAIN, photos=photos, optimizer=replace(ADAM, accumulates=accumulates)).total


def test_the_largest_micro_batch_that_may_fit() -> None:
    def fitting(limit: float, photos: int = 64, least: int = 1, devices: int = 1) -> int | None:
        return largest_fitting(
            CHAIN, photos=photos, least=least, optimizer=ADAM, limit_bytes=int(limit), devices=devices
        )

    assert fitting(SURE * _need(64, accumulates=False) + 1) == 64, "whole batches add up nothing"
    assert fitting(SURE * _need(63, accumulates=True) + 1) == 63
    assert fitting(SURE * _need(20, accumulates=True) + 1) == 20
    assert fitting(SURE * _need(20, accumulates=True) - 1) == 19
    assert fitting(SURE * _need(2, accumulates=True) + 1, least=3) is None
    assert fitting(SURE * _need(3, accumulates=True) + 1, least=3) == 3
    assert fitting(SURE * _need(32, accumulates=False) + 1, devices=2) == 64
    assert fitting(1.0, photos=2, least=3) is None


def test_a_prediction_that_is_a_quarter_too_high_refuses_nothing() -> None:
    actual = _need(64, accumulates=False) / 1.25
    assert largest_fitting(CHAIN, photos=64, least=1, optimizer=ADAM, limit_bytes=int(actual) + 1) == 64
