"""Models in formats that other programs read: TensorFlow's SavedModel and LiteRT (formerly TensorFlow Lite)."""

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from carcls.backend.framework import keras
from carcls.errors import ConfigError

Format = Literal["savedmodel", "litert"]
_KERAS_NAMES = {"savedmodel": "tf_saved_model", "litert": "litert"}


def write_portable(model: keras.Model, path: Path, form: Format) -> None:
    """Writes the model to a new folder (savedmodel) or file (litert), as Keras exports it.

    Raises ConfigError on another backend than TensorFlow, and what the converter raises.
    """
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"export needs the TensorFlow backend, found {keras.backend.backend()}: unset KERAS_BACKEND")
    model.export(str(path), format=_KERAS_NAMES[form], verbose=False)


def run_portable(path: Path, form: Format, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (n, classes) of pixels (n, size, size, 3) 0..255 by TensorFlow's own runtime for the format."""
    import tensorflow as tf  # noqa: PLC0415 - only where it is the backend

    if form == "savedmodel":
        loaded = tf.saved_model.load(str(path))  # its function refers to its variables weakly
        return np.asarray(loaded.serve(tf.constant(pixels)))
    with warnings.catch_warnings(action="ignore"):  # that LiteRT will leave TensorFlow for a package of its own
        interpreter = tf.lite.Interpreter(model_path=str(path))
    return np.concatenate([_invoke(interpreter, photo[None]) for photo in pixels])


def _invoke(interpreter: Any, batch: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: ANN401 - tf.lite has no types
    """One batch; the interpreter's input takes its shape."""
    [entry], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(entry["index"], batch.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry["index"], batch)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(result["index"]))
