"""Whole views: every photo of the training table augmented once, in the table's order."""

import numpy as np

from carcls.config import TrainConfig
from carcls.data.batches import EpochPlan
from carcls.data.mixing import Mixing
from carcls.data.source import TrainingData


def in_table_order(config: TrainConfig, data: TrainingData, *, view: int, size_px: int, batch_size: int) -> EpochPlan:
    """All training photos in one view: what epochs show of it in any order. Raises DataError."""
    labels = data.split.train.labels
    return EpochPlan(
        pixels=data.pixels("train", size_px),
        labels=labels,
        order=np.arange(len(labels)),
        views=np.full(len(labels), view),
        class_count=len(data.split.class_names),
        batch_size=batch_size,
        policy=config.augment.policy,
        view_seed=data.view_seed,
        mixing=Mixing(0.0, 0.0, seed=0, epoch=0),
    )
