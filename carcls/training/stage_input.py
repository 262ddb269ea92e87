"""Inputs of a stage: pixels, or features while the whole backbone is frozen."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig
from carcls.config.kept_features import views_can_be_shared
from carcls.frames import Size
from carcls.input.batches import training_batches
from carcls.input.epoch_plan import ArrayPlan, epoch_order, one_hot
from carcls.input.feeder import Feeder
from carcls.input.pixels import Pixels
from carcls.input.prefetch import EpochBatches
from carcls.input.training_data import TrainingData
from carcls.training.features import FrozenBackbone, stored_features


class StageInput(Protocol):
    """One stage's photos, in the form that its model takes."""

    def training(self, epoch: int) -> EpochBatches:
        """The batches of one epoch (0-based, over all stages). Close them afterwards. Raises DataError, ConfigError."""

    def validation(self) -> NDArray[Any] | Pixels:
        """All validation photos, unaugmented, in the table's order. Raises DataError."""

    def holdout(self) -> NDArray[Any] | Pixels:
        """All holdout photos, in the same form. Raises DataError, also if the split has none."""


@dataclass(frozen=True)
class PixelInput:
    """Pixels for a model whose backbone is trained."""

    config: TrainConfig
    data: TrainingData
    size_px: Size
    feeder: Feeder
    batch_size: int

    def training(self, epoch: int) -> EpochBatches:
        """Photos uint8 (b, height, width, 3)."""
        return training_batches(
            self.data,
            self.config,
            epoch=epoch,
            size_px=self.size_px,
            batch_size=self.batch_size,
            threads=self.data.processes,
            feeder=self.feeder,
        )

    def validation(self) -> Pixels:
        """uint8 (n, height, width, 3)."""
        return self.data.pixels("validation", self.size_px)

    def holdout(self) -> Pixels:
        """uint8 (n, height, width, 3)."""
        return self.data.pixels("holdout", self.size_px)


@dataclass(frozen=True)
class FeatureInput:
    """Features for a head on a frozen backbone: the photos of `PixelInput` in the same order and views."""

    config: TrainConfig
    data: TrainingData
    backbone: FrozenBackbone
    feeder: Feeder
    batch_size: int

    def training(self, epoch: int) -> EpochBatches:
        """Features float16 (b, d)."""
        x, y = self._stored(epoch) if views_can_be_shared(self.config) else self._computed(epoch)
        return EpochBatches(ArrayPlan(x, y, self.batch_size))

    def validation(self) -> NDArray[np.float16]:
        """float16 (n, d)."""
        return stored_features(self.backbone, self.config, self.data, "validation", None)

    def holdout(self) -> NDArray[np.float16]:
        """float16 (n, d)."""
        return stored_features(self.backbone, self.config, self.data, "holdout", None)

    def _stored(self, epoch: int) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        labels = self.data.split.train.labels
        photos, views = epoch_order(self.config, labels, epoch)
        x = np.empty((len(photos), self.backbone.width), np.float16)
        for view in np.unique(views):
            seen = views == view
            # Without augmentation every view is the plain photo, shared by all epochs.
            number = None if not self.config.augment.varies else int(view)
            x[seen] = stored_features(self.backbone, self.config, self.data, "train", number)[photos[seen]]
        return x, one_hot(labels[photos], len(self.data.split.class_names))

    def _computed(self, epoch: int) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        """Features of the batches that the whole model would have seen."""
        size_px = self.backbone.size_px
        batches = PixelInput(self.config, self.data, size_px, self.feeder, self.batch_size).training(epoch)
        rows = []
        for number in range(len(batches)):
            pixels, labels = batches[number]
            rows.append((self.backbone.features(pixels), labels))
        batches.close()
        x, y = zip(*rows, strict=True)
        return np.concatenate(x), np.concatenate(y)


def why_not_shared(config: TrainConfig) -> str | None:
    """Remark about a stage whose features are recomputed in every epoch, or None."""
    augment = config.augment
    if augment.mixup or augment.cutmix:
        return "mixup or cutmix: features are recomputed in every epoch"
    if not views_can_be_shared(config):
        return "balanced sampling with augment.views 0: features are recomputed in every epoch"
    return None
