"""Trains the backbone of `weights: sample` on drawn cars that are not in the sample data.

    python -m benchmarks.sample_weights

It learns to predict both a photo's model and the model's traits (height, position of the pillars, kind of hubs, tone of
the roof, ...). Each photo then has dozens of targets instead of one, and the features generalise to unseen models.

150 models, 80 photos each, 13 epochs: 1,120 s on 2 cores shared with eight other jobs. A linear model on the frozen
features, fitted to 700 photos of the sample data's models, then has an accuracy of 0.947 on 300 others.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from carcls.demo.cars import CarModel, car_models
from carcls.demo.sample import sample_photo
from carcls.models.sample_weights import PATH

COMMAND = "python -m benchmarks.sample_weights"
ALPHA = 0.35
SIZE_PX = 96
FAMILY = 1
"""Family of car models to learn from; the sample data is family 0."""
PROBE_FAMILY = 0
SEED = 0
BATCH_SIZE = 32
LABEL_SMOOTHING = 0.1
PEAK_RATE = 2e-3
WARMUP_SHARE = 0.08
FIRST_SIZE_PX = 64
"""Size for the first three quarters of the epochs, at half the cost; the last quarter uses the full size."""
NORM_MOMENTUM = 0.98
"""Momentum of the moving statistics. Keras's 0.999 for MobileNetV2 is too slow for a short training."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws, trains, probes and writes the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=150, help="car models to learn from (%(default)s)")
    parser.add_argument("--photos", type=int, default=80, help="photos of each (%(default)s)")
    parser.add_argument("--epochs", type=int, default=13, help="times that each photo is seen (%(default)s)")
    parser.add_argument("--output", type=Path, default=PATH, help="weights file to write (%(default)s)")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(0)
    started = time.monotonic()
    photos, numbers = draw(options.models, options.photos, family=FAMILY, seed=SEED)
    named = traits(car_models(options.models, family=FAMILY))[numbers]
    print(f"drew {len(photos)} photos in {time.monotonic() - started:.0f} s", flush=True)
    meta = {
        "backbone": "MobileNetV2",
        "alpha": ALPHA,
        "size_px": SIZE_PX,
        "command": f"{COMMAND} --models {options.models} --photos {options.photos} --epochs {options.epochs}",
    }
    backbone = build_backbone()
    judge = Probe(seed=SEED)

    def after_epoch(epoch: int, logs: dict[str, float]) -> None:
        score = judge(backbone)
        save(backbone, options.output, {**meta, "epoch": epoch + 1, "linear_probe_accuracy": round(score, 4)})
        print(f"epoch {epoch + 1}: {logs}, probe {score:.3f}, {time.monotonic() - started:.0f} s", flush=True)

    keras.utils.set_random_seed(SEED)
    train(backbone, photos, numbers, named, epochs=options.epochs, after_epoch=after_epoch)


def draw(
    models: int, per_model: int, *, family: int, seed: int, first: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Photos `first`, `first` + 1, ... of each model: uint8 RGB (n, 96, 96, 3), and their models' numbers (n,)."""
    photos = np.empty((models, per_model, SIZE_PX, SIZE_PX, 3), np.uint8)
    for number, model in enumerate(car_models(models, family=family)):
        for index in range(per_model):
            photo = sample_photo(model, seed=seed, family=family, number=number, index=first + index)
            photos[number, index] = cv2.resize(photo, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
    return photos.reshape(-1, SIZE_PX, SIZE_PX, 3), np.repeat(np.arange(models), per_model)


def traits(models: Sequence[CarModel]) -> NDArray[np.float32]:
    """Targets of the backbone: (models, traits), each trait standardised over the models."""
    table = np.array([_trait_row(model) for model in models], dtype=np.float64)
    deviation = table.std(axis=0)
    standardised = (table - table.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return standardised.astype(np.float32)


def _trait_row(model: CarModel) -> list[float]:
    """Numbers and flags unchanged, kinds one-hot, pillars as their number, first and last."""
    kinds = get_type_hints(CarModel)
    row: list[float] = []
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if get_origin(kinds[field.name]) is Literal:
            row += [float(value == option) for option in get_args(kinds[field.name])]
        elif isinstance(value, tuple):
            row += [float(len(value)), value[0] if value else 0.0, value[-1] if value else 1.0]
        else:
            row.append(float(value))
    return row


def build_backbone() -> keras.Model:
    """MobileNetV2 without the top for any image size, with moving statistics fast enough for a short training."""
    backbone = keras.applications.MobileNetV2(input_shape=(None, None, 3), alpha=ALPHA, include_top=False, weights=None)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = NORM_MOMENTUM
    return backbone


def train(
    backbone: keras.Model,
    photos: NDArray[np.uint8],
    numbers: NDArray[np.int64],
    named: NDArray[np.float32],
    *,
    epochs: int,
    after_epoch: Callable[[int, dict[str, float]], None],
) -> None:
    """Trains `backbone` in place to predict model `numbers` (n,) and traits `named` (n, traits); Adam, cosine."""
    pixels = keras.layers.Input((None, None, 3))
    flipped = keras.layers.RandomFlip("horizontal")(keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels))
    features = keras.layers.GlobalAveragePooling2D()(backbone(flipped))
    count = int(numbers.max()) + 1
    heads = {
        "model": keras.layers.Dense(count, activation="softmax", name="model")(features),
        "traits": keras.layers.Dense(named.shape[1], name="traits")(features),
    }
    model = keras.Model(pixels, heads)
    model.compile(
        optimizer=keras.optimizers.Adam(_rate(epochs * -(-len(photos) // BATCH_SIZE))),
        loss={"model": keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING), "traits": "mse"},
        metrics={"model": "accuracy"},
    )
    targets = {"model": np.eye(count, dtype=np.float32)[numbers], "traits": named}
    callback = keras.callbacks.LambdaCallback(on_epoch_end=after_epoch)
    small = epochs - max(1, epochs // 4)
    for first, last, sized in ((0, small, _resized(photos, FIRST_SIZE_PX)), (small, epochs, photos)):
        model.fit(
            sized, targets, batch_size=BATCH_SIZE, initial_epoch=first, epochs=last, callbacks=[callback], verbose=0
        )


def _rate(steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup = int(WARMUP_SHARE * steps)
    return keras.optimizers.schedules.CosineDecay(0.0, steps - warmup, warmup_target=PEAK_RATE, warmup_steps=warmup)


def _resized(photos: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    return np.stack([cv2.resize(photo, (size_px, size_px), interpolation=cv2.INTER_AREA) for photo in photos])


class Probe:
    """A linear probe on photos of the sample data, whose models are not in the training data. Draws them once."""

    def __init__(self, *, seed: int) -> None:
        photos, self._labels = draw(10, 100, family=PROBE_FAMILY, seed=seed)
        self._pixels = photos.astype(np.float32) / 127.5 - 1
        self._is_test = np.arange(len(photos)) % 100 >= 70

    def __call__(self, backbone: keras.Model) -> float:
        """Accuracy on 300 photos of a linear model on the frozen features, fitted to 700 others."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        features = backbone.predict(self._pixels, batch_size=100, verbose=0).mean(axis=(1, 2))
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.02, max_iter=2000))
        model.fit(features[~self._is_test], self._labels[~self._is_test])
        return float(model.score(features[self._is_test], self._labels[self._is_test]))


def save(backbone: keras.Model, path: Path, meta: dict[str, object]) -> None:
    """Writes float16 arrays '0000', '0001', ... in the order of `backbone.weights`, 'paths' and 'meta'; atomic."""
    arrays: dict[str, Any] = {
        f"{i:04d}": np.asarray(weight).astype(np.float16) for i, weight in enumerate(backbone.weights)
    }
    paths = np.array([weight.path for weight in backbone.weights])
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
        np.savez_compressed(file, paths=paths, meta=np.array(json.dumps(meta)), **arrays)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


if __name__ == "__main__":
    main()
