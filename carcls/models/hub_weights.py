"""Weights files of KerasHub: presets that this machine has, and tables of positions for images of another size."""

import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py  # type: ignore[import-untyped]  # ships no types
import keras
import numpy as np
from numpy.typing import NDArray

from carcls.errors import WeightsError
from carcls.models.hub_rows import HUB_ROWS
from carcls.system.preset_files import WEIGHTS_NAME, kagglehub_models, newest_weights


def preset_file(name: str, preset: str) -> Path:
    """The weights file of a preset in kagglehub's folder. Downloads nothing.

    Raises WeightsError that says how to get it, and HomeError.
    """
    collection = HUB_ROWS[name].collection
    found = newest_weights(preset, collection=collection)
    if found is None:
        handle = f"keras/{collection}/keras/{preset}"
        raise WeightsError(
            f"weights: {preset} is not in {kagglehub_models() / handle}. Fetch it once, where there is a network:"
            f" python -c \"import kagglehub; kagglehub.model_download('{handle}')\"; or name its {WEIGHTS_NAME}"
            " elsewhere"
        )
    return found


@contextmanager
def with_fitting_positions(
    name: str, backbone: keras.Model, path: Path, expected: Mapping[str, tuple[int, ...]]
) -> Iterator[Path]:
    """The weights file, or a copy whose tables of positions are resized to the backbone's image size.

    expected: name -> shape of each array that the backbone saves. A table of another length than expected is taken for
    one of a square image: its class token stays, the others are resized as images are (bicubic), as by DINOv2's
    authors. Other misfits stay as they are.
    """
    side = HUB_ROWS[name].reduction_px
    height, width, _channels = backbone.image_shape
    grid = (height // side, width // side)
    with h5py.File(path, "r") as file:
        others = {key: np.asarray(file[key]) for key in expected if _is_other_table(file, key, expected[key], grid)}
    if not others:
        yield path
        return
    with TemporaryDirectory(prefix="carcls-") as folder:
        copy = Path(folder) / WEIGHTS_NAME
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            for key, table in others.items():
                del file[key]
                file[key] = resized_positions(table, grid)
        yield copy


def resized_positions(table: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Positions (..., 1 + side * side, channels) of a square image -> (..., 1 + h * w, channels); the first stays."""
    first, patches = table[..., :1, :], table[..., 1:, :]
    side, channels = math.isqrt(patches.shape[-2]), patches.shape[-1]
    resized = keras.ops.image.resize(
        patches.reshape(1, side, side, channels).astype(np.float32),
        grid,
        interpolation="bicubic",
        data_format="channels_last",
    )
    flat = keras.ops.convert_to_numpy(resized).reshape(*table.shape[:-2], grid[0] * grid[1], channels)
    return np.concatenate([first, flat], axis=-2).astype(table.dtype)


def _is_other_table(file: h5py.File, key: str, expected: tuple[int, ...], grid: tuple[int, int]) -> bool:
    """Whether an array is a table of positions of another, square image."""
    if len(expected) not in (2, 3) or expected[-2] != 1 + grid[0] * grid[1] or key not in file:
        return False
    found = file[key].shape
    if found == expected or len(found) != len(expected) or (found[:-2], found[-1]) != (expected[:-2], expected[-1]):
        return False
    return found[-2] > 1 and math.isqrt(found[-2] - 1) ** 2 == found[-2] - 1
