"""Our own side of the input benchmarks: an epoch of training batches, as fast as they come."""

import time

from carcls.config import StageConfig, TrainConfig
from carcls.input.batches import training_batches
from carcls.input.feeder import Feeder
from carcls.input.training_data import TrainingData


def feeding_config(policy: str, *, size_px: int, batch_size: int) -> TrainConfig:
    """A configuration of which only feeding matters: fresh views in every epoch."""
    return TrainConfig.model_validate(
        {
            "backbone": "MobileNetV2",
            "weights": "none",
            "image_size": size_px,
            "batch_size": batch_size,
            "augment": {"policy": policy, "views": 0},
            "stages": [StageConfig(name="full", unfreeze=1.0, epochs=1, learning_rate=1e-4).model_dump()],
        }
    )


def our_epoch_rate(data: TrainingData, config: TrainConfig, feeder: Feeder | None, *, epoch: int) -> float:
    """Images/s of one epoch of training batches, asked for one after the other as fit does; feeder None: by threads."""
    started = time.perf_counter()
    size_px, threads = config.image_size, data.processes
    batches = training_batches(data, config, epoch=epoch, size_px=size_px, threads=threads, feeder=feeder)
    seen = sum(len(batches[number][0]) for number in range(len(batches)))
    seconds = time.perf_counter() - started
    batches.close()
    return seen / seconds
