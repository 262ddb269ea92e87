"""Stored views: every photo of the training table augmented once, in the table's order."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from carcls.augment.mixing import Mixing
from carcls.augment.views import policy_fingerprint
from carcls.config import TrainConfig
from carcls.errors import StoreError
from carcls.frames import Size, frame_of, size_name
from carcls.input.epoch_plan import EpochPlan
from carcls.input.pixels import size_key
from carcls.input.prefetch import EpochBatches
from carcls.input.training_data import TrainingData
from carcls.store import ArrayWriter, Json, Progress

_VERSION = 1
"""Part of every key. Increase it when views change although their key does not."""
_PHOTOS_AT_ONCE = 32


def view_key(config: TrainConfig, data: TrainingData, view: int, size_px: Size) -> dict[str, Json]:
    """Everything that a stored view depends on."""
    return {
        "kind": "views",
        "version": _VERSION,
        "pixels": data.pixels_key("train", size_px),
        **size_key(size_px),
        "policy": policy_fingerprint(config.augment.policy),
        "seed": data.view_seed,
        "view": view,
    }


def in_table_order(
    config: TrainConfig, data: TrainingData, *, view: int, size_px: Size, batch_size: int, erase: float = 0.0
) -> EpochPlan:
    """A plan of all training photos in one view, in the table's order. Raises DataError.

    erase: probability of random erasing, which stored views leave to the epoch.
    """
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
        erase=erase,
    )


def cached_views(
    config: TrainConfig, data: TrainingData, views: NDArray[np.int64], size_px: Size
) -> Mapping[int, NDArray[np.uint8]]:
    """View number -> uint8 (n, height, width, 3) from the node's store, or nothing if the store is off.

    Raises DataError.
    """
    try:
        return {view: _cached_view(config, data, view, size_px) for view in np.unique(views).tolist()}
    except StoreError:  # off or unusable, which the store has logged
        return {}


def _cached_view(config: TrainConfig, data: TrainingData, view: int, size_px: Size) -> NDArray[np.uint8]:
    def build(writer: ArrayWriter) -> None:
        plan = in_table_order(config, data, view=view, size_px=size_px, batch_size=_PHOTOS_AT_ONCE)
        batches, done = EpochBatches(plan, threads=data.processes), 0
        progress = Progress(f"view {view} at {size_name(size_px)} px", len(writer))
        for number in range(len(batches)):
            pixels, _ = batches[number]
            writer[done : done + len(pixels)] = pixels
            done += len(pixels)
            progress.add(len(pixels))
        batches.close()

    shape = (len(data.split.train), *frame_of(size_px).shape)
    return data.store.get_or_build(view_key(config, data, view, size_px), shape, np.uint8, build)
