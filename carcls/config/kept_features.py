"""Which features of a frozen backbone are kept from one epoch to the next. Pure."""

from carcls.config.training import TrainConfig


def views_can_be_shared(config: TrainConfig) -> bool:
    """Whether epochs consist of whole views of all photos, so that storing their features pays off.

    Mixed photos are not views. With balanced sampling and unlimited views, an epoch shows a few photos of each of many
    views.
    """
    augment = config.augment
    is_mixed = bool(augment.mixup or augment.cutmix)
    is_scattered = config.class_balance == "sampling" and augment.views == 0 and augment.varies
    return not (is_mixed or is_scattered)


def feature_passes(config: TrainConfig, stage: int) -> int:
    """How many epochs of a frozen stage compute features at most; the others find theirs in the store."""
    augment, epochs = config.augment, config.stages[stage].epochs
    if not views_can_be_shared(config):
        return epochs
    if not augment.varies:
        return 1
    return min(epochs, augment.views or epochs)
