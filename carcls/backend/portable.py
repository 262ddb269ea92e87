"""Models in formats that other programs read: TensorFlow's SavedModel, LiteRT (formerly TensorFlow Lite) and ONNX."""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from carcls.backend.framework import keras
from carcls.errors import ConfigError

Format = Literal["savedmodel", "litert", "onnx"]
_KERAS_NAMES = {"savedmodel": "tf_saved_model", "litert": "litert"}
_FOR_ONNX = ("tf2onnx", "onnx", "onnxruntime")
"""Packages of the extra `onnx`: the first converts, and the last runs the result."""
_OPSET = 17
"""ONNX's set of operations, of 2022, which ONNX Runtime reads from version 1.12 on."""


def write_portable(model: keras.Model, path: Path, form: Format) -> None:
    """Writes the model to a new folder (savedmodel) or file (litert, onnx), as Keras exports it.

    Raises ConfigError on another backend than TensorFlow or without the packages for ONNX, and what the converter
    raises.
    """
    missing = [name for name in _FOR_ONNX if form == "onnx" and find_spec(name) is None]
    if missing:
        raise ConfigError(f"export to ONNX needs {', '.join(missing)}: pip install 'carsearch[onnx]'")
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"export needs the TensorFlow backend, found {keras.backend.backend()}: unset KERAS_BACKEND")
    if form == "onnx":
        _write_onnx(model, path)
    else:
        model.export(str(path), format=_KERAS_NAMES[form], verbose=False)


def run_portable(path: Path, form: Format, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (n, classes) of pixels (n, size, size, 3) 0..255 by TensorFlow's own runtime for the format, or
    by ONNX Runtime on the CPU."""
    if form == "onnx":
        return _run_onnx(path, pixels)
    import tensorflow as tf  # noqa: PLC0415 - only where it is the backend

    if form == "savedmodel":
        loaded = tf.saved_model.load(str(path))  # its function refers to its variables weakly
        return np.asarray(loaded.serve(tf.constant(pixels)))
    with warnings.catch_warnings(action="ignore"):  # that LiteRT will leave TensorFlow for a package of its own
        interpreter = tf.lite.Interpreter(model_path=str(path))
    return np.concatenate([_invoke(interpreter, photo[None]) for photo in pixels])


def _write_onnx(model: keras.Model, path: Path) -> None:
    """Freezes the model to a graph of constants first. Keras 3.15's own export to ONNX leaves the constants of a
    Normalization layer as missing inputs, so that no EfficientNet runs."""
    import tensorflow as tf  # noqa: PLC0415 - only where it is the backend
    import tf2onnx  # noqa: PLC0415 - an extra
    from tensorflow.python.framework.convert_to_constants import (  # noqa: PLC0415 - TensorFlow has no public name
        convert_variables_to_constants_v2,
    )

    pixels = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="pixels")
    answer = tf.function(lambda pixels: model(pixels, training=False)).get_concrete_function(pixels)
    frozen = convert_variables_to_constants_v2(answer)
    tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=[tensor.name for tensor in frozen.inputs],
        output_names=[tensor.name for tensor in frozen.outputs],
        opset=_OPSET,
        output_path=str(path),
    )


def _run_onnx(path: Path, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime  # noqa: PLC0415 - an extra

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [entry] = session.get_inputs()
    return np.asarray(session.run(None, {entry.name: pixels})[0])


def _invoke(interpreter: Any, batch: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: ANN401 - tf.lite has no types
    """One batch; the interpreter's input takes its shape."""
    [entry], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(entry["index"], batch.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry["index"], batch)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(result["index"]))
