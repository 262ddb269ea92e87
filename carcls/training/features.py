"""Pooled features of a frozen backbone, computed once per node instead of once per epoch and trial.

A stage that trains only the head depends on its photos only through pooled features, which are the same in all trials
and, apart from the view, in all epochs. The backbone runs in inference mode, so it is a fixed function without dropout
or stochastic depth. Features are float16 with and without the store, so that trainings are identical.
"""

import contextlib
import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.augment.views import policy_fingerprint
from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.dataset.table import ImageTable
from carcls.errors import StoreError
from carcls.frames import Size, size_name
from carcls.input.pixels import pixels_key, size_key
from carcls.input.prefetch import EpochBatches
from carcls.input.stored_views import in_table_order
from carcls.input.training_data import Part, TrainingData
from carcls.store import ArrayWriter, Json, Progress, exclude_seconds
from carcls.training.steps.feature_batches import feature_batch

_VERSION = 2
"""Part of every key. Increase it when features change although their key does not."""
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class FrozenBackbone:
    """A backbone with fixed weights at one image size."""

    trunk: Callable[[NDArray[np.uint8], int], NDArray[np.float32]]
    """(pixels (n, height, width, 3), batch size) -> pooled features (n, d)."""
    width: int
    """d, the number of features."""
    size_px: Size
    identity: str | None
    """Identifies its weights across trainings, or None if they are specific to this training."""
    at_most: int | None = None
    """Photos that fit the device's memory at once, or None for no limit."""

    @property
    def photos_at_once(self) -> int:
        """Batch size, see `feature_batch`."""
        return feature_batch(self.size_px, self.at_most)

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
        """uint8 (n, height, width, 3) -> float16 (n, d)."""
        return as_stored(self.trunk(pixels, self.photos_at_once))


def backbone_identity(config: TrainConfig, weights: Path | None) -> str:
    """Identifies the initial weights of a configuration's backbone: a file by its content, or the random seed."""
    if weights is None:
        return f"random, seed {config.seed}, keras {keras.__version__}"
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def stored_features(
    backbone: FrozenBackbone, config: TrainConfig, data: TrainingData, part: Part, view: int | None
) -> NDArray[np.float16]:
    """float16 (n, d); row i belongs to photo i of the part's table. view: augmented view, or None for plain photos.

    Comes from the store if the backbone is shared between trainings, and is computed otherwise. Plain features are
    selected from those of `data.shared` tables if possible. Raises DataError.
    """
    table = data.table(part)
    if backbone.identity is not None:
        with contextlib.suppress(StoreError):  # off or unusable, which the store has logged
            return _from_store(backbone, config, data, table, view)
    own = np.empty((len(table), backbone.width), np.float16)
    _compute(own, backbone, config, data, table, view=view)
    return own


def _from_store(
    backbone: FrozenBackbone, config: TrainConfig, data: TrainingData, table: ImageTable, view: int | None
) -> NDArray[np.float16]:
    """Raises StoreError."""
    # Augmented views depend on a photo's position in its table, so tables can share only plain features.
    shared = data.shared_rows(table) if view is None else None

    def whole(table: ImageTable) -> NDArray[np.float16]:
        return data.store.get_or_build(
            feature_key(backbone, config, data, table, view),
            (len(table), backbone.width),
            np.float16,
            lambda writer: _compute(writer, backbone, config, data, table, view=view),
        )

    if shared is None:
        return whole(table)
    wholes = [whole(one) for one in shared.tables]
    return wholes[0] if shared.is_one_table else np.concatenate(wholes)[shared.rows]


def _compute(
    rows: ArrayWriter | NDArray[np.float16],
    backbone: FrozenBackbone,
    config: TrainConfig,
    data: TrainingData,
    table: ImageTable,
    *,
    view: int | None,
) -> None:
    """Writes the features of a whole table to `rows`."""
    done, took_s = 0, []
    progress = Progress(f"features of {config.backbone} at {size_name(backbone.size_px)} px", len(rows))
    for pixels in _pixels(backbone, config, data, table, view):
        started = time.perf_counter()
        rows[done : done + len(pixels)] = backbone.features(pixels)
        took_s.append(time.perf_counter() - started)
        done += len(pixels)
        progress.add(len(pixels))
    exclude_seconds(tracing_s(took_s))  # tracing happens once per training, not in each epoch


def feature_key(
    backbone: FrozenBackbone, config: TrainConfig, data: TrainingData, table: ImageTable, view: int | None
) -> dict[str, Json]:
    """Everything that the features depend on."""
    augmented: Json = None if view is None else [policy_fingerprint(config.augment.policy), data.view_seed, view]
    erased = dict[str, Json](erase=config.augment.erase) if view is not None and config.augment.erase else {}
    return {
        "kind": "features",
        "version": _VERSION,
        "pixels": pixels_key(table, backbone.size_px),
        **size_key(backbone.size_px),
        "view": augmented,
        **erased,
        "backbone": config.backbone,
        "alpha": config.alpha,
        "weights": backbone.identity,
        "pooling": config.head.pooling,
        "precision": devices.dtype_policy(config.precision),
        "device": devices.describe(),
    }


def tracing_s(calls_s: Sequence[float]) -> float:
    """Estimated tracing time in the first of several calls of one shape: its excess over the median of the others.

    For a single call it is all of its time, so that computing time is never overestimated.
    """
    if len(calls_s) < 2:
        return sum(calls_s)
    return max(0.0, calls_s[0] - statistics.median(calls_s[1:]))


def as_stored(features: NDArray[np.floating]) -> NDArray[np.float16]:
    """Rounds to float16. Values beyond its range become its largest number; NaN stays NaN."""
    return np.clip(features, -_LARGEST, _LARGEST).astype(np.float16)


def _pixels(
    backbone: FrozenBackbone, config: TrainConfig, data: TrainingData, table: ImageTable, view: int | None
) -> Iterator[NDArray[np.uint8]]:
    """All photos of a table in order, in batches."""
    if view is None:
        whole, some = data.pixels_of(table, backbone.size_px), backbone.photos_at_once
        for start in range(0, len(whole), some):
            yield whole[start : start + some]
        return
    plan = in_table_order(
        config,
        data,
        view=view,
        size_px=backbone.size_px,
        batch_size=backbone.photos_at_once,
        erase=config.augment.erase,
    )
    batches = EpochBatches(plan, threads=data.processes)
    for number in range(len(batches)):
        yield batches[number][0]
    batches.close()
