"""Builds the training batches of an epoch."""

from carcls.augment.mixing import Mixing
from carcls.augment.views import load_policy
from carcls.config import TrainConfig
from carcls.frames import Size
from carcls.input.epoch_plan import EpochPlan, epoch_order
from carcls.input.feeder import Feeder
from carcls.input.prefetch import EpochBatches
from carcls.input.stored_views import cached_views
from carcls.input.training_data import TrainingData


def training_batches(
    data: TrainingData,
    config: TrainConfig,
    *,
    epoch: int,
    size_px: Size,
    batch_size: int | None = None,
    threads: int = 1,
    feeder: Feeder | None = None,
) -> EpochBatches:
    """The training batches of one epoch (0-based, over all stages), with photos at size_px.

    batch_size: photos per batch; None takes the configuration's.

    feeder: its processes prepare the batches, one per thread; None lets the threads do it. Raises DataError, and
    ConfigError for an invalid policy file.
    """
    load_policy(config.augment.policy)
    augment = config.augment
    labels = data.split.train.labels
    photos, views = epoch_order(config, labels, epoch)
    plan = EpochPlan(
        pixels=data.pixels("train", size_px),
        labels=labels,
        order=photos,
        views=views,
        class_count=len(data.split.class_names),
        batch_size=config.batch_size if batch_size is None else batch_size,
        policy=augment.policy,
        view_seed=data.view_seed,
        erase=augment.erase,
        cached=cached_views(config, data, views, size_px) if augment.cache_views else {},
        mixing=Mixing(augment.mixup, augment.cutmix, seed=config.seed, epoch=epoch),
    )
    return EpochBatches(plan if feeder is None else feeder.plan(plan), threads=threads)
