"""Finds and loads the weights of a backbone, all or nothing.

A file fits only if it holds exactly the backbone's weights, in order and in the right shapes. It is checked completely
before anything is loaded.
"""

import math
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, takewhile, zip_longest
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]  # ships no types
import keras
import numpy as np
from numpy.typing import NDArray

from carcls.catalog import HUB_BACKBONES, KNOWN_BACKBONES, PRESETS, backbones_with
from carcls.config import TrainConfig
from carcls.errors import MisfitError, WeightsError
from carcls.models.backbones import imagenet_file, set_imagenet_statistics
from carcls.models.download import cached
from carcls.models.hub_weights import preset_file, with_fitting_positions
from carcls.system.hdf5 import names_in, plain_hdf5
from carcls.system.zip_files import npy_entry, opened_zip

_SUFFIXES = (".h5", ".npz")
_MAX_PATHS_BYTES = 16 * 2**20
"""Limit for the names in an .npz file. Those of NASNetLarge take 1 MB."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """One array of a weights file, not yet read."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]


def resolve_weights(config: TrainConfig) -> Path | None:
    """The backbone's weights file, or None for random weights.

    `imagenet` is downloaded to Keras's cache once per node; presets of KerasHub must be there. Raises WeightsError if
    the file is missing, of an unknown kind, or cannot be downloaded.
    """
    if config.weights == "none":
        return None
    if config.weights == "sample":
        from carcls.models.sample_weights import PATH  # noqa: PLC0415 (only for the sample)

        return PATH
    info = KNOWN_BACKBONES[config.backbone]
    preset = info.presets[0] if config.weights == "imagenet" and info.presets else config.weights
    if preset in PRESETS:
        return preset_file(config.backbone, preset)
    if config.weights == "imagenet":
        return cached(imagenet_file(config.backbone, config.alpha))
    path = Path(config.weights)
    if path.suffix not in _SUFFIXES:
        raise WeightsError(f"weights: {path}: expected a .h5, .weights.h5 or .npz file, or imagenet, none, sample")
    if path.exists() and not path.is_file():
        raise WeightsError(f"weights: {path}: not a regular file")
    if not path.is_file():
        raise WeightsError(f"weights: {path}: no such file (looked from {Path.cwd()})")
    return path


def load_backbone_weights(backbone: keras.Model, path: Path, name: str = "") -> None:
    """Loads `path` into `backbone`, or leaves it unchanged. name: the backbone's, which KerasHub's need.

    Reads .h5 files of keras.applications without the top, Keras 3's .weights.h5 of the backbone alone, and .npz with
    arrays '0000', '0001', ... in the order of `backbone.weights` and their `paths`. The file's image size does not
    matter, and pixel statistics inside EfficientNet are always ImageNet's. Raises WeightsError naming the file and the
    first array that does not fit.
    """
    if path.suffix == ".npz":
        with _reading(path), opened_zip(path) as (archive, entries):
            _fill(backbone.weights, _npz_arrays(archive, entries), path, by_name=True)
    elif path.name.endswith(".weights.h5"):
        _load_keras3(backbone, path, name)
    else:
        with _reading(path), plain_hdf5(path) as (file, arrays):
            _fill(list(_legacy_order(backbone)), _legacy_arrays(file, arrays), path, by_name=False)
    set_imagenet_statistics(backbone)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns any error of NumPy, zipfile and HDF5 into WeightsError; invalid files may raise nearly everything."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path} cannot be read as weights: {error}; expected .h5, .weights.h5 or .npz") from error


def _fill(variables: Sequence[Any], stored: Sequence[_Stored], path: Path, *, by_name: bool) -> None:
    """Compares all shapes before reading any array, so that memory is bounded by the backbone's size."""
    _check_fit(variables, stored, path, by_name=by_name)
    arrays = [array.read() for array in stored]
    for variable, values in zip(variables, arrays, strict=True):
        variable.assign(values.astype(variable.dtype))


def _check_fit(variables: Sequence[Any], stored: Sequence[_Stored], path: Path, *, by_name: bool) -> None:
    """Raises MisfitError. by_name: False for legacy files, whose names depend on the Keras version that saved them."""
    weight_count = sum(math.prod(array.shape) for array in stored)
    for variable, array in zip_longest(variables, stored):
        found = "the end of the file" if array is None else f"{array.name} of shape {array.shape}"
        expected = (
            "the end of the backbone" if variable is None else f"{variable.path} of shape {tuple(variable.shape)}"
        )
        fits = variable is not None and array is not None and tuple(variable.shape) == array.shape
        if not fits or (by_name and variable.path != array.name):
            raise MisfitError(_misfit(path, found, expected, weight_count))


def _misfit(path: Path, found: str, expected: str, weight_count: int) -> str:
    """Message for a misfit. weight_count: number of scalars in the file, which identifies a known backbone."""
    known = [
        f"{name} with alpha {alpha}" if KNOWN_BACKBONES[name].has_alpha else name
        for name, alpha in backbones_with(weight_count)
    ]
    seems = f"; its {weight_count:,} weights suggest {' or '.join(known)}" if known else ""
    return (
        f"{path} does not fit the backbone: found {found}, expected {expected}{seems};"
        " check `backbone` and `alpha`, and that the file has no top"
    )


def _load_keras3(backbone: keras.Model, path: Path, name: str) -> None:
    """Compares the file with one that Keras saves for this backbone, since only Keras knows the layout."""
    found, expected = _array_shapes(path), _saved_shapes(backbone)
    if name in HUB_BACKBONES:
        with _reading(path), with_fitting_positions(name, backbone, path, expected) as fitting:
            _load_compared(backbone, path, fitting, _array_shapes(fitting), expected)
    else:
        _load_compared(backbone, path, path, found, expected)


def _saved_shapes(backbone: keras.Model) -> dict[str, tuple[int, ...]]:
    """Name -> shape of each array that Keras saves for the backbone."""
    with tempfile.TemporaryDirectory(prefix="carcls-") as folder:
        twin = Path(folder) / "twin.weights.h5"
        backbone.save_weights(twin)
        return _array_shapes(twin)


def _load_compared(
    backbone: keras.Model,
    path: Path,
    fitting: Path,
    found: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
) -> None:
    """Loads `fitting`, the user's `path` or a copy of it, if its arrays are those expected. Raises MisfitError."""
    weight_count = sum(math.prod(shape) for shape in found.values())
    for name in sorted({**expected, **found}):
        if found.get(name) != expected.get(name):
            raise MisfitError(_misfit(path, _shape_of(name, found), _shape_of(name, expected), weight_count))
    backbone.load_weights(fitting)


def _shape_of(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    return f"{name} of shape {shapes[name]}" if name in shapes else f"no {name}"


def _array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of each array in the file."""
    with _reading(path), plain_hdf5(path) as (_, arrays):
        return {name: array.shape for name, array in arrays.items()}


def _npz_arrays(archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> list[_Stored]:
    """Arrays '0000', '0001', ... named by `paths`. Half precision is fine: assignment casts to the variable's dtype."""
    paths = npy_entry(archive, entries["paths.npy"])
    if paths.byte_count > _MAX_PATHS_BYTES or paths.dtype.kind != "U" or len(paths.shape) != 1:
        raise ValueError(f"`paths` is {paths.dtype} of shape {paths.shape}, not a list of names")
    stored = []
    for number, name in enumerate(paths.read().tolist()):
        entry = npy_entry(archive, entries[f"{number:04d}.npy"])
        if entry.dtype.kind not in "biuf":
            raise ValueError(f"{name} holds {entry.dtype}, not numbers")
        stored.append(_Stored(name, entry.shape, entry.read))
    return stored


def _legacy_arrays(file: h5py.File, arrays: Mapping[str, h5py.Dataset]) -> list[_Stored]:
    """The layers' arrays in the file's order, in the layout of Keras 1 and 2."""
    top = "model_weights" if "model_weights" in file else ""
    root = file[top or "/"]
    stored = []
    for layer in _attribute(root, "layer_names"):
        for weight in _attribute(root[layer], "weight_names"):
            array = arrays["/".join(part for part in (top, layer, weight) if part)]
            stored.append(_Stored(weight, array.shape, partial(np.asarray, array)))
    return stored


def _attribute(group: h5py.Group, name: str) -> Iterator[str]:
    """A list of strings. One too long for an HDF5 header is split into `name0`, `name1`, ..."""
    chunks = (f"{name}{number}" for number in count())
    for chunk in [name] if name in group.attrs else takewhile(group.attrs.__contains__, chunks):
        yield from names_in(group, chunk)


def _legacy_order(backbone: keras.Model) -> Iterator[Any]:
    """Variables in the order of .h5 files: layer by layer, trainable ones first."""
    for layer in backbone.layers:
        yield from layer.trainable_weights
        yield from layer.non_trainable_weights
