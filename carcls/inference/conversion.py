"""Converts an exported model to another format, and compares both on photos before the result gets its name."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carcls.backend.portable import Format, run_portable, write_portable
from carcls.errors import CheckpointError, DataError
from carcls.frames import Size
from carcls.inference.export import load_model
from carcls.input.pixels import decode

MAX_DIFFERENCE = 1e-3
"""Of a probability; float32 in another order of operations stays far below."""
_ENDINGS = {"savedmodel": "", "litert": ".tflite", "onnx": ".onnx"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was written, and how much its probabilities differ."""

    path: Path
    photos: int
    max_difference: float
    """Largest difference of a probability on these photos, one view each."""


def target_path(model: Path, form: Format) -> Path:
    """Where the model in that format belongs: beside it, under its name."""
    return model.with_name(f"{model.stem}-{form}{_ENDINGS[form]}")


def convert(model: Path, target: Path, form: Format, photos: Sequence[Path]) -> Conversion:
    """Writes `target`, and `target`.json with class names and image size, after comparing both models on the photos.

    The result has no test-time augmentation: pixels 0..255 in, probabilities of one view out. Raises CheckpointError if
    the model cannot be read, if `target` exists, or if probabilities differ by more than MAX_DIFFERENCE; DataError
    without a readable photo; ConfigError on JAX, or without the packages for ONNX.
    """
    if target.exists():
        raise CheckpointError(f"{target} exists already: remove it, or choose another with --output")
    exported = load_model(model)
    pixels = _pixels(photos, exported.card.size)
    expected = np.asarray(exported.model.predict_on_batch(pixels))
    with tempfile.TemporaryDirectory(prefix=".carsearch-", dir=target.parent) as folder:
        draft = Path(folder) / f"draft{_ENDINGS[form]}"
        write_portable(exported.model, draft, form)
        difference = float(np.abs(run_portable(draft, form, pixels) - expected).max())
        if not difference <= MAX_DIFFERENCE:
            raise CheckpointError(
                f"{model}: as {form} its probabilities differ by up to {difference:.2g} on {len(pixels)} photos, more"
                f" than {MAX_DIFFERENCE:g}: nothing was written"
            )
        shutil.move(draft, target)
    own = exported.card
    card = {
        "class_names": own.class_names,
        "size_px": own.size_px,
        **({} if own.width_px is None else {"width_px": own.width_px}),
        "fit": own.fit,
        "pixels": "RGB, 0..255, float32",
        "sharpness": own.sharpness,  # not applied: it follows the views
    }
    target.with_name(f"{target.name}.json").write_text(json.dumps(card, indent=2, ensure_ascii=False), encoding="utf-8")
    return Conversion(target, len(pixels), difference)


def _pixels(photos: Sequence[Path], size: Size) -> np.ndarray:
    """float32 (n, height, width, 3) of the readable photos."""
    decoded = []
    for path in photos:
        try:
            decoded.append(decode(path, size))
        except DataError:
            continue
    if not decoded:
        raise DataError(f"none of {len(photos)} photos can be read; expected some to compare the models on")
    return np.stack(decoded).astype(np.float32)
