import math

import pytest

from carcls.config import StageConfig, TrainConfig
from carcls.errors import DivergedError, OutOfMemoryError
from carcls.training.position import Position
from carcls.training.stage_errors import check_finite, naming_out_of_memory

CONFIG = TrainConfig(
    backbone="Xception",
    image_size=100,
    batch_size=64,
    stages=(
        StageConfig(name="head", unfreeze=0.0, epochs=2, learning_rate=0.1),
        StageConfig(name="full", unfreeze=1.0, epochs=2, learning_rate=0.003, image_scale=1.5),
    ),
)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_divergence_names_stage_epoch_value_and_rate(value):
    with pytest.raises(DivergedError) as caught:
        check_finite(value, "validation log-loss", CONFIG, Position(epoch=2, stage=1))
    assert str(caught.value).startswith(
        f"stage 'full', epoch 3: validation log-loss is {value}; a learning rate below 0.003"
    )


def test_finite_losses_pass():
    check_finite(1e30, "training loss", CONFIG, Position())


def test_out_of_memory_names_stage_size_and_batch():
    with pytest.raises(OutOfMemoryError) as caught, naming_out_of_memory(CONFIG, 1):
        raise MemoryError("cannot allocate")
    assert str(caught.value).startswith(
        "stage 'full': not enough memory for batches of 64 photos at 150 px with Xception"
    )
    assert isinstance(caught.value.__cause__, MemoryError)
    assert caught.value.stage == 1


def test_out_of_memory_names_the_micro_batch():
    with pytest.raises(OutOfMemoryError) as caught, naming_out_of_memory(CONFIG, 0, 16):
        raise MemoryError
    assert str(caught.value).startswith(
        "stage 'head': not enough memory for 16 of a batch's 64 photos at once at 100 px"
    )
    assert caught.value.stage == 0


def test_other_errors_pass_as_they_are():
    with pytest.raises(KeyError), naming_out_of_memory(CONFIG, 0):
        raise KeyError("x")
