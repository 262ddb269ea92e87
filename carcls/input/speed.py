"""How fast photos become batches on this machine: decoding, and views by the processes of a training."""

import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from carcls.config import TrainConfig
from carcls.dataset.table import ImageTable
from carcls.demo.cars import car_models
from carcls.demo.sample import sample_photo
from carcls.input.batch_worker_server import BatchWorkerServer
from carcls.input.batches import training_batches
from carcls.input.feeder import Feeder
from carcls.input.training_data import TrainingData
from carcls.photos.photo import digest_of
from carcls.splits.split import Split
from carcls.store import Store

_WIDTH_PX, _HEIGHT_PX = 640, 480
"""A common size of photos for training."""
_QUALITY = 90
_CLASSES = 4


@dataclass(frozen=True, slots=True)
class InputSpeed:
    """Photos per second."""

    decoded_per_s: float
    """JPEG files of 640 x 480 to pixels of the training's size, which happens once for each size."""
    views_per_s: float
    """Pixels to augmented batches, which happens in every epoch."""


def measure_input(
    config: TrainConfig,
    folder: Path,
    *,
    photos: int,
    seconds: float,
    processes: int,
    batch_server: BatchWorkerServer | None = None,
) -> InputSpeed:
    """Decodes drawn photos, then prepares batches of the first stage for at least `seconds`.

    folder: empty; photos and their pixels are written there. photos: their number, at least a batch. processes: cores,
    as of `TrainingData`.
    """
    table = _drawn(folder, photos)
    split = Split(tuple(str(number) for number in range(_CLASSES)), table, table.select(()))
    data = TrainingData(split, Store(folder / "store"), view_seed=0, processes=processes, batch_server=batch_server)
    size_px = config.stage_size(0)
    started = time.perf_counter()
    data.pixels("train", size_px)
    decoding_s = time.perf_counter() - started
    with Feeder(config, cores=processes, batch_server=batch_server) as feeder:
        _prepare(data, config, feeder, epoch=0)  # starts the processes
        epoch, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds or not epoch:
            epoch += 1
            _prepare(data, config, feeder, epoch=epoch)
        views_s = time.perf_counter() - started
    return InputSpeed(photos / decoding_s, photos * epoch / views_s)


def _prepare(data: TrainingData, config: TrainConfig, feeder: Feeder, *, epoch: int) -> None:
    batches = training_batches(
        data,
        config,
        epoch=epoch,
        size_px=config.stage_size(0),
        batch_size=config.stage_batch_size(0),
        threads=data.processes,
        feeder=feeder,
    )
    for number in range(len(batches)):
        batches[number]
    batches.close()


def _drawn(folder: Path, count: int) -> ImageTable:
    """Drawn cars, enlarged to the size of photos."""
    models, names, digests = car_models(_CLASSES, family=0), [], []
    for number in range(count):
        small = sample_photo(models[number % _CLASSES], seed=0, family=0, number=number % _CLASSES, index=number)
        photo = cv2.resize(small, (_WIDTH_PX, _HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
        done, encoded = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not done:
            raise RuntimeError("OpenCV cannot encode JPEG: check the installation of opencv-python-headless")
        names.append(f"{number}.jpg")
        (folder / names[-1]).write_bytes(encoded.tobytes())
        digests.append(digest_of(encoded.tobytes()))
    ids = tuple(names)
    return ImageTable(folder, ids, ids, np.arange(count) % _CLASSES, tuple(digests))
