"""Errors of training runs that cannot continue, described in terms of the configuration."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from carcls.backend.memory_errors import is_out_of_memory
from carcls.config import TrainConfig
from carcls.errors import DivergedError, OutOfMemoryError
from carcls.training.position import Position


def check_finite(value: float, what: str, config: TrainConfig, position: Position) -> None:
    """Raises DivergedError naming stage, epoch and value if the epoch after `position` produced a non-finite value."""
    if not math.isfinite(value):
        stage = config.stages[position.stage]
        raise DivergedError(
            f"stage {stage.name!r}, epoch {position.epoch + 1}: {what} is {value};"
            f" a learning rate below {stage.learning_rate:g} or a warm-up may help"
        )


@contextmanager
def naming_out_of_memory(config: TrainConfig, stage: int, micro_batch: int | None = None) -> Iterator[None]:
    """Turns any out-of-memory error into an OutOfMemoryError naming stage, image size and batch size.

    micro_batch: photos per forward pass, or None for whole batches.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        photos = f"batches of {config.stage_batch_size(stage)} photos"
        if micro_batch is not None:
            photos = f"{micro_batch} of a batch's {config.stage_batch_size(stage)} photos at once"
        named = OutOfMemoryError(
            f"stage {config.stages[stage].name!r}: not enough memory for {photos} at"
            f" {config.stage_image_size(stage)} px with {config.backbone}; lower batch_size or the image size"
        )
        named.stage = stage
        raise named from error
