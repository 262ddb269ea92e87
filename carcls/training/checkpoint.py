"""Named arrays on disk: written whole or not at all, read without pickles, put back without skipping anything.

A checkpoint is a .npz file: one stored .npy entry for each array and `meta.json`. Keys begin with their kind:
`model/<variable path>`, `seed/<position>` and `optimizer/<position>`. Keras names seed generators in the order of their
making and optimizer variables after whatever they belong to: neither name outlives the process, a position does.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
from numpy.typing import NDArray

from carcls.errors import CheckpointError
from carcls.system.atomic import published
from carcls.system.zip_files import NpyEntry, npy_entry, opened_zip

_META = "meta.json"
_PIECE_BYTES = 1 << 20
_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, SyntaxError, OverflowError, struct.error),
    *(RuntimeError, RecursionError, MemoryError, zipfile.BadZipFile, zlib.error),
)
"""What zipfile, json and numpy raise over bytes that they cannot make sense of."""


def save_state(path: Path, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
    """Write arrays and JSON values: `path` holds either its old content or all of the new, even through a power cut.

    Arrays are plain numbers; `meta` is anything that json writes. The folder is made where it is missing. Raises
    DiskFullError where there is no room for it, and OSError where the disk refuses otherwise.
    """
    with published(path) as temporary, temporary.open("wb") as handle:
        _write_zip(handle, arrays, meta)


def load_state(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What `save_state` wrote: the arrays by key, and the JSON values. Raises CheckpointError where missing or torn."""
    with _reading(path), opened_zip(path) as (archive, entries):
        found = {name: _numbers(archive, info) for name, info in entries.items() if name != _META}
        return {name.removesuffix(".npy"): entry.read() for name, entry in found.items()}, _meta(archive, entries)


def read_meta(path: Path) -> dict[str, Any]:
    """The JSON values alone, after every byte of the file was checked. Raises CheckpointError where missing or torn."""
    with _reading(path), opened_zip(path) as (archive, entries):
        for info in entries.values():
            with archive.open(_stored(info)) as entry:
                while entry.read(_PIECE_BYTES):
                    pass  # the end of an entry compares its CRC
        return _meta(archive, entries)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What cannot be read as a checkpoint becomes a CheckpointError."""
    try:
        yield
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; resume from an earlier one or start anew") from None
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path}: not a whole checkpoint ({type(error).__name__}: {error});"
            " resume from an earlier one or start anew"
        ) from error


def model_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Everything a model remembers, by checkpoint key: weights, BatchNorm statistics, states of its seed generators.

    Raises CheckpointError where two variables share a path, since only one of them could be kept.
    """
    # `weights` leaves the seed generators out, at every depth; `variables` has both.
    weight_ids = {id(variable) for variable in model.weights}
    named: dict[str, keras.Variable] = {}
    for variable in model.weights:
        if named.setdefault(f"model/{variable.path}", variable) is not variable:
            raise CheckpointError(f"two variables of the model are called {variable.path!r}; give their layers names")
    return named | _by_position("seed", [one for one in model.variables if id(one) not in weight_ids])


def optimizer_variables(optimizer: keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """An optimizer's variables (iterations, rate, moments, loss scale) by checkpoint key. It must be built."""
    return _by_position("optimizer", optimizer.variables)


def _by_position(kind: str, variables: Sequence[keras.Variable]) -> dict[str, keras.Variable]:
    return {f"{kind}/{position:04d}": variable for position, variable in enumerate(variables)}


def variable_arrays(variables: Mapping[str, keras.Variable]) -> dict[str, NDArray[Any]]:
    """Copies of the values. A float that numpy has no name for (bfloat16) becomes float32, which holds it exactly."""
    arrays = {key: np.array(keras.ops.convert_to_numpy(variable.value)) for key, variable in variables.items()}
    return {key: array if array.dtype.kind in "biuf" else array.astype(np.float32) for key, array in arrays.items()}


def restore_variables(variables: Mapping[str, keras.Variable], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Assign every array to the variable of its key. Nothing is assigned unless all fit.

    Raises CheckpointError naming each variable that is missing from `arrays`, unknown to `variables`, or of another
    shape.
    """
    problems = [f"missing from the checkpoint: {key}" for key in variables.keys() - arrays.keys()]
    problems += [f"unknown to the model: {key}" for key in arrays.keys() - variables.keys()]
    problems += [
        f"{key}: shape {arrays[key].shape}, expected {tuple(variables[key].shape)}"
        for key in variables.keys() & arrays.keys()
        if arrays[key].shape != tuple(variables[key].shape)
    ]
    if problems:
        listed = "\n  ".join(sorted(problems))
        raise CheckpointError(f"this checkpoint is of another model or optimizer:\n  {listed}")
    for key, variable in variables.items():
        variable.assign(arrays[key])


def _write_zip(handle: IO[bytes], arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_META, json.dumps(dict(meta)))
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)


def _stored(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    # Stored entries cannot grow beyond the file, so that no checkpoint is a bomb.
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"entry {info.filename} is compressed")
    return info


def _numbers(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NpyEntry:
    entry = npy_entry(archive, _stored(info))
    if entry.dtype.kind not in "biuf":
        raise ValueError(f"entry {info.filename} holds {entry.dtype}, not numbers")
    return entry


def _meta(archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> dict[str, Any]:
    meta = json.loads(archive.read(_stored(entries[_META])))
    if not isinstance(meta, dict):
        raise ValueError(f"{_META} holds no values by name")
    return meta
