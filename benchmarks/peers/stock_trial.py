"""One training the stock way: what a competent notebook does inside a Ray Tune function trainable.

Written after Ray's "Hyperparameter tuning with Keras and Tune", Keras's "Transfer learning & fine-tuning" and
TensorFlow's tf.data guides. Choices where the guides leave one, each in the peer's favour: decoded photos are cached in
memory for the whole trial (`.cache()`), one dataset serves all stages, BatchNorm stays frozen, and no checkpoint is
written (the search needs none; ours writes one after each epoch). TensorFlow chooses its threads, as in the guides.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.events import EventLog


def train_stock(config: dict[str, Any]) -> None:
    """Ray Tune's trainable. `config["entry"]`: see `benchmarks.peers.stock.entry_of`; other keys override its values.

    Reports after every epoch: `val_accuracy`, `epoch`.
    """
    import keras
    import tensorflow as tf
    from ray import tune

    from benchmarks.peers.pipeline import pipeline
    from benchmarks.policies import transforms
    from benchmarks.step_clock import StepClock

    spec = {**config["entry"], **{key: value for key, value in config.items() if key != "entry"}}
    log = EventLog(Path(spec["events"]))
    log.note(spec["number"], "imported")
    tf.keras.utils.set_random_seed(spec["seed"])
    feed = {
        "class_count": spec["class_count"],
        "size_px": spec["image_size"],
        "batch_size": spec["batch_size"],
        "transforms": transforms(spec["policy"]),
        "cache": True,
    }
    train = pipeline(*_photos(spec, "train"), training=True, **feed)
    validation = pipeline(*_photos(spec, "validation"), training=False, **feed)
    model, backbone = _model(keras, spec)

    class Report(keras.callbacks.Callback):
        """Tells Tune of each epoch; Tune may answer by ending the trial."""

        seen = 0

        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            Report.seen += 1
            tune.report({"val_accuracy": (logs or {})["val_accuracy"], "epoch": Report.seen})

    for stage in spec["stages"]:
        _unfreeze(keras, backbone, stage["unfreeze"])
        steps = len(train) * stage["epochs"]
        warmup = min(steps - 1, round(len(train) * stage["warmup_epochs"]))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else stage["learning_rate"],
            decay_steps=steps - warmup,
            warmup_target=stage["learning_rate"] if warmup else None,
            warmup_steps=warmup,
        )
        model.compile(
            keras.optimizers.Adam(rate),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=spec["label_smoothing"]),
            metrics=["accuracy"],
        )
        model.fit(
            train,
            validation_data=validation,
            epochs=stage["epochs"],
            callbacks=[Report(), StepClock(log, spec["number"])],
            verbose=0,
        )
    log.note(spec["number"], "trained")


def _model(keras: Any, spec: Mapping[str, Any]) -> tuple[Any, Any]:  # noqa: ANN401 - keras is imported by the trial alone
    """keras.applications' backbone without top, and a head on its average."""
    size_px = spec["image_size"]
    builder = getattr(keras.applications, spec["backbone"])
    width = {"alpha": spec["alpha"]} if spec["alpha"] is not None else {}
    backbone = builder(include_top=False, weights=spec["weights"], input_shape=(size_px, size_px, 3), **width)
    inputs = keras.Input((size_px, size_px, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs) if spec["rescale"] else inputs
    x = backbone(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.Dropout(spec["dropout"])(x)
    penalty = keras.regularizers.L2(spec["l2"]) if spec["l2"] else None
    outputs = keras.layers.Dense(spec["class_count"], activation="softmax", kernel_regularizer=penalty)(x)
    return keras.Model(inputs, outputs), backbone


def _unfreeze(keras: Any, backbone: Any, fraction: float) -> None:  # noqa: ANN401
    """The top share of the backbone's layers trains, BatchNorm apart."""
    backbone.trainable = True
    frozen = round(len(backbone.layers) * (1.0 - fraction))
    for position, layer in enumerate(backbone.layers):
        layer.trainable = position >= frozen and not isinstance(layer, keras.layers.BatchNormalization)


def _photos(spec: Mapping[str, Any], fold: str) -> tuple[list[Path], list[int]]:
    rows = list(_rows(Path(spec["split"]), fold))
    classes = sorted({row["Category"] for row in _rows(Path(spec["split"]), None)}, key=lambda name: (len(name), name))
    return [Path(spec["root"]) / row["path"] for row in rows], [classes.index(row["Category"]) for row in rows]


def _rows(split: Path, fold: str | None) -> Iterator[dict[str, str]]:
    with split.open(newline="", encoding="utf-8") as file:
        yield from (row for row in csv.DictReader(file) if fold is None or row["fold"] == fold)
