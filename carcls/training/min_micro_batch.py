"""The fewest photos that a batch may be cut into. Light: the search's driver, which has no Keras, uses it."""

from carcls.config import TrainConfig

_WITH_NORM = 3


def smallest_part(config: TrainConfig, stage: int) -> int:
    """The fewest photos at once with which a stage can be trained.

    BatchNorm makes nothing of a single photo, whose deviation from its own mean is zero. Parts of at most 2 would leave
    one of every batch of an odd size; shared out evenly, parts of at most 3 leave none of any batch of two or more. In
    the backbone only random weights leave it to train, once something there does.
    """
    in_backbone = config.weights == "none" and config.stages[stage].unfreeze > 0.0
    return _WITH_NORM if config.head.batch_norm or in_backbone else 1
