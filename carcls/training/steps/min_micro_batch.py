"""The smallest micro-batch with which a stage can be trained. Imports no Keras, since the search's driver uses it."""

from carcls.config import TrainConfig

_WITH_NORM = 3


def min_micro_batch(config: TrainConfig, stage: int) -> int:
    """Smallest number of photos per forward pass with which a stage can be trained.

    BatchNorm cannot train on a single photo, which has no variance. Parts of at most 2 photos would leave a single one
    in every batch of odd size; evenly sized parts of at most 3 never do for batches of two or more.
    """
    return _WITH_NORM if config.head.has_batch_norm or config.trains_statistics(stage) else 1
