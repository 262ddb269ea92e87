"""What a frozen backbone makes of the photos, computed once per node instead of once per epoch and trial.

A stage that trains nothing but the head sees its photos only through the pooled features, and those change neither from
epoch to epoch (but for the view) nor from trial to trial. The backbone runs in inference mode: what is frozen is a
fixed function, without dropout or stochastic depth. Features are float16 with the store and without it, so that both
give the same training.
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
from carcls.input.pixels import pixels_key
from carcls.input.prefetch import EpochBatches
from carcls.input.stored_views import in_table_order
from carcls.input.training_data import Part, TrainingData
from carcls.store import ArrayWriter, Json, Progress, exclude_seconds

_VERSION = 2
"""Part of every key: raise it when the features of an equal key change."""
_PIXELS_AT_ONCE = 64 * 224 * 224
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class FrozenBackbone:
    """A backbone whose weights stay as they are, at one image size."""

    trunk: Callable[[NDArray[np.uint8], int], NDArray[np.float32]]
    """(pixels (n, size, size, 3), n at once) -> pooled features (n, d)."""
    width: int
    """d, the number of features."""
    size_px: int
    identity: str | None
    """Its weights by name, equal in all trainings that have the same; None: they are this training's own."""
    at_most: int | None = None
    """Photos that the device has room for at once; None: as many as `photos_at_once` would have."""

    @property
    def photos_at_once(self) -> int:
        """Depends on their size alone: rounding differs with it, and shared features must not depend on the trial; but
        where the device has no room, features rounded otherwise are better than none."""
        return max(1, min(64, _PIXELS_AT_ONCE // self.size_px**2, self.at_most or 64))

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
        """uint8 (n, size, size, 3) -> float16 (n, d)."""
        return as_stored(self.trunk(pixels, self.photos_at_once))


def backbone_identity(config: TrainConfig, weights: Path | None) -> str:
    """Names the weights with which a configuration's backbone starts: those of a file by its content."""
    if weights is None:
        return f"random, seed {config.seed}, keras {keras.__version__}"
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def stored_features(
    backbone: FrozenBackbone, config: TrainConfig, data: TrainingData, part: Part, view: int | None
) -> NDArray[np.float16]:
    """float16 (n, d), row i of photo i of that part's table: plain, or augmented in one view.

    From the store where the backbone is one that others may share, else computed for this call; plain ones are rows of
    those of the tables that `data` shares. Raises DataError.
    """
    table = data.table(part)
    if backbone.identity is not None:
        with contextlib.suppress(StoreError):  # off, or unusable, as it has said
            return _from_store(backbone, config, data, table, view)
    own = np.empty((len(table), backbone.width), np.float16)
    _compute(own, backbone, config, data, table, view=view)
    return own


def _from_store(
    backbone: FrozenBackbone, config: TrainConfig, data: TrainingData, table: ImageTable, view: int | None
) -> NDArray[np.float16]:
    """Raises StoreError."""
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
    """Features of a whole table -> rows."""
    done, took_s = 0, []
    progress = Progress(f"features of {config.backbone} at {backbone.size_px} px", len(rows))
    for pixels in _pixels(backbone, config, data, table, view):
        started = time.perf_counter()
        rows[done : done + len(pixels)] = backbone.features(pixels)
        took_s.append(time.perf_counter() - started)
        done += len(pixels)
        progress.add(len(pixels))
    exclude_seconds(tracing_s(took_s))  # a training traces once; it would not trace again in each epoch


def feature_key(
    backbone: FrozenBackbone, config: TrainConfig, data: TrainingData, table: ImageTable, view: int | None
) -> dict[str, Json]:
    """Everything that the features depend on."""
    augmented: Json = None if view is None else [policy_fingerprint(config.augment.policy), data.view_seed, view]
    return {
        "kind": "features",
        "version": _VERSION,
        "pixels": pixels_key(table, backbone.size_px),
        "size_px": backbone.size_px,
        "view": augmented,
        "backbone": config.backbone,
        "alpha": config.alpha,
        "weights": backbone.identity,
        "pooling": config.head.pooling,
        "precision": devices.dtype_policy(config.precision),
        "device": devices.describe(),
    }


def tracing_s(calls_s: Sequence[float]) -> float:
    """What tracing may have taken of calls of one shape: how much longer the first took than the others' median.

    All of it where there is no other: what is left is never more than computing took.
    """
    if len(calls_s) < 2:
        return sum(calls_s)
    return max(0.0, calls_s[0] - statistics.median(calls_s[1:]))


def as_stored(features: NDArray[np.floating]) -> NDArray[np.float16]:
    """The nearest float16; what is beyond its range becomes its largest number, NaN stays NaN."""
    return np.clip(features, -_LARGEST, _LARGEST).astype(np.float16)


def _pixels(
    backbone: FrozenBackbone, config: TrainConfig, data: TrainingData, table: ImageTable, view: int | None
) -> Iterator[NDArray[np.uint8]]:
    """All photos of a table in the table's order, some at a time."""
    if view is None:
        whole, some = data.pixels_of(table, backbone.size_px), backbone.photos_at_once
        for start in range(0, len(whole), some):
            yield whole[start : start + some]
        return
    plan = in_table_order(config, data, view=view, size_px=backbone.size_px, batch_size=backbone.photos_at_once)
    batches = EpochBatches(plan, threads=data.processes)
    for number in range(len(batches)):
        yield batches[number][0]
    batches.close()
