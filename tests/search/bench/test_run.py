"""Measurements in processes of their own."""

import pytest

from search.bench.plan import Wishes
from search.bench.results import Training
from search.bench.run import Bencher, config_of

SMALL = Training("MobileNet", 0.25, 32, "float32", 4096)
LIMIT_BYTES = 300_000_000


@pytest.mark.slow
def test_too_little_memory_is_a_result() -> None:
    found = Bencher(gpus=0, steps=1, minutes=5.0, memory_bytes=LIMIT_BYTES).measure(SMALL)
    assert (found.what, found.state, found.images_per_s) == (SMALL, "out_of_memory", 0.0), found
    assert found.seconds > 0


def test_the_end_of_the_time_ends_a_measurement() -> None:
    bencher = Bencher(gpus=0, steps=1, minutes=0.0, memory_bytes=None)
    assert bencher.measure(SMALL).state == "out_of_time"
    wishes = Wishes((("MobileNet", 0.25),), (32,), ("auto",), (8,), (1,), (1,), "light", 1)
    assert list(bencher.measurements(wishes)) == []


def test_a_backbone_is_measured_as_pretrained_weights_train() -> None:
    config = config_of(SMALL)
    assert config.keeps_statistics(0)
    assert (config.stage_batch_size(0), config.stage_size(0), config.precision) == (4096, 32, "float32")
