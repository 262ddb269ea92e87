from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from carcls.dataset.loading import load_dataset
from carcls.input.training_data import TrainingData
from carcls.splits.split import make_split
from carcls.store import Store

_TOGETHER = {1: (1, 4), 10: (10, 22)}
_GROUPS = [_TOGETHER.get(number, (number,)) for number in range(24) if number not in (4, 22)]
"""Groups of photos when the golden curves were recorded. Today none of them count as look-alikes."""


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> TrainingData:
    """24 photos of noisy stripes in 3 classes of different width: 18 for training, 6 for validation."""
    folder: Path = tmp_path_factory.mktemp("stripes")
    rows = ["Id,Category"]
    for number in range(24):
        path = folder / "train" / str(number % 3) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), _stripes(np.random.default_rng(number), width_px=(4, 8, 16)[number % 3]))
        rows.append(f"{number}.png,{number % 3}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    split = make_split(load_dataset(folder, processes=1), fraction=0.25, seed=0, groups=_GROUPS)
    return TrainingData(split, Store(folder / "store"), view_seed=0)


def _stripes(rng: np.random.Generator, *, width_px: int) -> NDArray[np.uint8]:
    bright = ((np.arange(64) + rng.integers(64)) // width_px % 2)[None, :, None]
    return (100 * bright + rng.integers(0, 155, (64, 64, 3))).astype(np.uint8)


@pytest.fixture(scope="session")
def weights(data, tmp_path_factory) -> Path:
    """A MobileNet with random weights that still distinguishes photos, thanks to BatchNorm statistics of the data.

    Otherwise signals vanish in the 27 layers of a random backbone, and no head can learn.
    """
    import keras

    from carcls.models.backbones import build_backbone, scale_pixels

    rng = np.random.default_rng(0)
    backbone = build_backbone("MobileNet", 0.25, 32)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        for variable in layer.trainable_variables:
            if len(variable.shape) > 1:
                variable.assign(rng.normal(size=variable.shape))  # BatchNorm sets the scale
    backbone(scale_pixels("MobileNet", data.pixels("train", 32).astype("float32")), training=True)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    backbone.save_weights(path)
    return path
