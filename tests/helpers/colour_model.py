"""A small exported model that tells red, green and blue photos apart by their mean, without training."""

from pathlib import Path

from carcls.config import StageConfig, TrainConfig

SIZE = 32
CONFIG = TrainConfig(
    backbone="MobileNet",
    alpha=0.25,
    weights="none",
    image_size=SIZE,
    batch_size=4,
    stages=(StageConfig(name="head", unfreeze=0.0, epochs=1, learning_rate=1e-3),),
)


def write_colour_model(folder: Path) -> Path:
    """Writes `folder`/model.keras and returns its path."""
    import keras

    from carcls.inference.export import export_model
    from carcls.models.classifier import Classifier

    pixels = keras.Input((SIZE, SIZE, 3))
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 25)(pixels))
    network = keras.Model(pixels, keras.layers.Softmax()(means))
    path = folder / "model.keras"
    classifier = Classifier(network, network, "MobileNet")
    export_model(
        path, classifier, class_names=("red", "green", "blue"), config=CONFIG, size_px=SIZE, tta_views=("plain",)
    )
    return path
