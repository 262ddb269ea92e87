"""Rates of configurations that were measured, and of those that were not."""

import pytest

from search.bench.rates import Rates
from search.bench.reference import RATES, Machine, train_images_per_s
from tests.search.bench.helpers import bench, feeding, training

TWO = Machine(2, gpu=False)


def test_the_nearest_measurement_is_scaled_by_its_area() -> None:
    rates = Rates(TWO, bench=bench(training(100.0), training(390.0, image_size=112), training(50.0, batch_size=8)))
    found = rates.cost("MobileNetV2", 1.0, px=448)
    assert found is not None
    assert found.train_s == pytest.approx(4 / 100)
    assert found.forward_s == pytest.approx(4 / 400)
    assert (found.compile_s, found.epoch_s) == (5.0, 0.25)
    near = rates.cost("MobileNetV2", 1.0, px=112, batch_size=32)
    assert near is not None
    assert near.train_s == pytest.approx(1 / 390)
    small = rates.cost("MobileNetV2", 1.0, px=224, batch_size=10)
    assert small is not None
    assert small.train_s == pytest.approx(1 / 50)


def test_a_frozen_block_costs_a_forward_pass() -> None:
    found = Rates(TWO, bench=bench(training(100.0))).cost("MobileNetV2", 1.0, px=224)
    assert found is not None
    assert found.photo_s(1.0) == pytest.approx(0.01)
    assert found.photo_s(0.0) == pytest.approx(0.0025)
    assert found.photo_s(0.5) == pytest.approx((0.01 + 0.0025) / 2)


def test_other_backbones_follow_the_table_at_this_machines_pace() -> None:
    here = 2 * RATES[("MobileNetV2", 1.0)].train
    found = Rates(TWO, bench=bench(training(here))).cost("Xception", 1.0, px=224)
    assert found is not None
    assert found.train_s == pytest.approx(0.5 / RATES[("Xception", 1.0)].train)
    assert Rates(TWO, bench=bench(training(here))).cost("VGG19", 1.0, px=224) is None


def test_trials_at_once_are_as_slow_as_measured() -> None:
    known = bench(training(100.0, threads=2), training(70.0, at_once=2, threads=1))
    one = Rates(Machine(1, gpu=False), at_once=2, bench=known).cost("MobileNetV2", 1.0, px=224)
    assert one is not None
    assert one.train_s == pytest.approx(1 / 70)
    unmeasured = Rates(Machine(1, gpu=False), at_once=2, bench=bench(training(100.0))).cost("MobileNetV2", 1.0, px=224)
    assert unmeasured is not None
    assert unmeasured.train_s == pytest.approx(2**0.75 / 100)
    shared = Rates(Machine(2, gpu=True), at_once=4, bench=bench(training(100.0), gpus=1))
    found = shared.cost("MobileNetV2", 1.0, px=224)
    assert found is not None
    assert found.train_s == pytest.approx(4 / 100), "four shares of a GPU, of which only the whole was measured"


def test_without_measurements_the_table_decides() -> None:
    rates = Rates(TWO)
    assert not rates.is_measured
    assert rates.train_images_per_s("Xception", 1.0, px=160, unfreeze=0.5) == train_images_per_s(
        "Xception", 1.0, px=160, unfreeze=0.5, machine=TWO
    )
    assert rates.trace_s("Xception", 1.0) == RATES[("Xception", 1.0)].trace_s
    assert (rates.view_s(224), rates.decode_s()) == (0.0, 0.0)


def test_photos_are_prepared_by_a_trials_cores() -> None:
    rates = Rates(Machine(4, gpu=True), bench=bench(training(100.0), feeding(500.0, processes=2), gpus=1, cores=4))
    assert rates.view_s(224) == pytest.approx(1 / 1000)
    assert rates.view_s(448) == pytest.approx(4 / 1000)
    assert rates.decode_s() == pytest.approx(1 / 400)
