"""carsearch export: a final model in a format that other programs read."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from search.terminal.console import say

_PHOTOS = 64
"""Photos that both models are compared on, at most."""


def export(
    model: Annotated[Path, typer.Argument(help="A model.keras file of `carsearch retrain` or `train`.")],
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of them, to compare both models on.")],
    *,
    form: Annotated[
        Literal["savedmodel", "litert", "onnx"],
        typer.Option(
            "--format",
            help="TensorFlow's SavedModel (a folder), LiteRT (a .tflite file), or ONNX.",
        ),
    ] = "savedmodel",
    output: Annotated[Path | None, typer.Option(help="What to write; default: beside the model.")] = None,
) -> None:
    """Convert a final model, and compare it with the original on photos; writes nothing if they differ.

    The result has no test-time augmentation. A .json file beside it names the classes and the image size: `size_px`,
    or for rectangles the height as `size_px` and the width as `width_px`.
    """
    from search.terminal.logs import redirect_native_stderr

    redirect_native_stderr(Path(os.devnull))
    from carcls.backend.devices import configure_for_prediction
    from carcls.dataset.unlabelled import photos_below
    from carcls.inference.conversion import convert, target_path

    configure_for_prediction()
    found = [photo for path in photos for photo in (photos_below(path) if path.is_dir() else (path,))][:_PHOTOS]
    done = convert(model, output or target_path(model, form), form, found)
    say(f"exported: {done.path}")
    say(f"compared on {done.photos} photos: probabilities differ by at most {done.max_difference:.1e}")
