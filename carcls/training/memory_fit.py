"""Micro-batches that a GPU is predicted to have memory for, before a training starts on it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from carcls.backend import gpu_memory
from carcls.backend.gpu_access import VISIBLE, GpuGrant
from carcls.config import TrainConfig
from carcls.errors import OutOfMemoryError
from carcls.models.classifier import build_classifier
from carcls.models.freezing import set_trainable
from carcls.models.layer_shapes import layer_shapes
from carcls.models.memory_need import Optimizer, largest_fitting, memory_need
from carcls.training.steps.min_micro_batch import min_micro_batch

_ANY_CLASSES = 200
"""A head of more classes takes hardly more memory."""
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Fit:
    """What was decided for a training."""

    micro_batch: tuple[int | None, ...]
    """Photos at once of each stage; None for whole batches."""
    notes: tuple[str, ...] = ()
    """A remark for each stage with fewer photos at once than asked for."""
    refusal: OutOfMemoryError | None = None
    """Why a stage cannot be trained here. Its micro-batch is then the smallest one."""


def granted_bytes(gpus: float) -> int | None:
    """Memory of each GPU of this process, which sees no others; None if unknown. gpus: as in `configure`."""
    grant = GpuGrant.of(gpus, None)
    if grant is None:
        return None
    return gpu_memory.granted_bytes(gpu_memory.cards_seen(os.environ.get(VISIBLE)), grant.count, grant.share)


def fit_to_memory(
    config: TrainConfig, wanted: Sequence[int | None], *, stages: range, limit_bytes: int, devices: int = 1
) -> Fit:
    """The largest micro-batches that are predicted to fit, at most those wanted, for the given stages.

    wanted: photos at once of each stage of the configuration, None for whole batches. devices: over which they are
    spread. Stages that train only the head stay as they are. Builds the model again only where the size changes.
    """
    fitted = list(wanted)
    notes: list[str] = []
    classifier, built_px = None, None
    for number in stages:
        if config.stages[number].unfreeze == 0.0:
            continue
        photos = wanted[number] or config.stage_batch_size(number)
        keeps = config.keeps_statistics(number)
        size_px = config.stage_size(number)
        if classifier is None or size_px != built_px:
            classifier = build_classifier(config, size_px=size_px, class_count=_ANY_CLASSES, weights=None)
            built_px = size_px
        set_trainable(classifier, config.stages[number].unfreeze, batch_norm=not keeps)
        layers = layer_shapes(classifier, folded=keeps)
        optimizer = optimizer_of(config, accumulates=photos < config.stage_batch_size(number))
        need = memory_need(layers, photos=-(-photos // devices), optimizer=optimizer).total
        least = min_micro_batch(config, number)
        fitting = largest_fitting(
            layers, photos=photos, least=least, optimizer=optimizer, limit_bytes=limit_bytes, devices=devices
        )
        where = f"stage {config.stages[number].name!r}"
        asked = f"{photos} photos at once are predicted to need {need / _GB:.3g} GB of {limit_bytes / _GB:.3g} GB"
        if fitting is None:
            fitted[number] = least
            refusal = OutOfMemoryError(
                f"{where}: not tried, because {asked}, and {least} do not fit either with {config.backbone} at"
                f" {config.stage_image_size(number)} px; lower the image size, or use a larger GPU or share"
            )
            refusal.stage = number
            return Fit(tuple(fitted), tuple(notes), refusal)
        if fitting < photos:
            fitted[number] = fitting
            notes.append(f"{where} starts with {fitting} photos at once: {asked}")
    return Fit(tuple(fitted), tuple(notes))


def optimizer_of(config: TrainConfig, *, accumulates: bool) -> Optimizer:
    """What the configuration's optimizer keeps."""
    own = config.optimizer
    return Optimizer(own.kind, amsgrad=own.amsgrad, ema=config.ema > 0.0, accumulates=accumulates)
