from pathlib import Path

import numpy as np
import pytest

from carcls.data.folds import make_split
from carcls.data.sample import write_sample
from carcls.data.source import TrainingData
from carcls.data.store import Store
from carcls.data.table import load_dataset


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> TrainingData:
    """24 drawn cars of 3 classes: 18 to train on, 6 to validate on."""
    folder: Path = tmp_path_factory.mktemp("cars")
    write_sample(folder / "photos", train_per_class=8, test_per_class=1, classes=3)
    split = make_split(load_dataset(folder / "photos", processes=1), fraction=0.25, seed=0)
    return TrainingData(split, Store(folder / "store"), view_seed=0)


@pytest.fixture(scope="session")
def weights(data, tmp_path_factory) -> Path:
    """A MobileNet that tells photos apart although nobody trained it: random, with BatchNorm statistics of the data.

    Without them the signal of a random backbone dies on its way through 27 layers, and no head can learn.
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
