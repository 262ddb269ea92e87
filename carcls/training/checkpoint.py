"""Checkpoints: named arrays, written atomically, read without pickle, and restored completely or not at all.

It is an uncompressed .npz file with one .npy entry per array plus `meta.json`. Keys are `model/<variable path>`,
`seed/<position>` and `optimizer/<position>`. Keras's names of seed generators and optimizer variables depend on what
the process created before, so these are identified by position.
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
"""What zipfile, json and NumPy raise for invalid bytes."""


def save_state(path: Path, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
    """Writes arrays and JSON values atomically and durably, even through a power cut.

    Arrays are numeric; `meta` is anything that json can write. Creates the folder if missing. Raises DiskFullError if
    the disk is full, and OSError for other failures.
    """
    with published(path) as temporary, temporary.open("wb") as handle:
        _write_zip(handle, arrays, meta)


def load_state(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Reads what `save_state` wrote: arrays by key, and JSON values. Raises CheckpointError if missing or damaged."""
    with _reading(path), opened_zip(path) as (archive, entries):
        found = {name: _numbers(archive, info) for name, info in entries.items() if name != _META}
        return {name.removesuffix(".npy"): entry.read() for name, entry in found.items()}, _meta(archive, entries)


def read_meta(path: Path) -> dict[str, Any]:
    """Only the JSON values, after verifying the whole file. Raises CheckpointError if missing or damaged."""
    with _reading(path), opened_zip(path) as (archive, entries):
        for info in entries.values():
            with archive.open(_stored(info)) as entry:
                while entry.read(_PIECE_BYTES):
                    pass  # zipfile verifies the CRC at the end of an entry
        return _meta(archive, entries)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns errors of reading into CheckpointError."""
    try:
        yield
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; resume from an earlier one or start again") from None
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path}: not a complete checkpoint ({type(error).__name__}: {error});"
            " resume from an earlier one or start again"
        ) from error


def model_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """All state of a model by checkpoint key: weights, BatchNorm statistics and states of seed generators.

    Raises CheckpointError if two variables share a path, since only one of them could be saved.
    """
    # `weights` excludes seed generators at every depth; `variables` includes them.
    weight_ids = {id(variable) for variable in model.weights}
    named: dict[str, keras.Variable] = {}
    for variable in model.weights:
        if named.setdefault(f"model/{variable.path}", variable) is not variable:
            raise CheckpointError(f"two variables of the model are called {variable.path!r}; name their layers")
    return named | _by_position("seed", [one for one in model.variables if id(one) not in weight_ids])


def optimizer_variables(optimizer: keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """An optimizer's variables (iterations, rate, moments, loss scale) by checkpoint key. It must be built."""
    return _by_position("optimizer", optimizer.variables)


def _by_position(kind: str, variables: Sequence[keras.Variable]) -> dict[str, keras.Variable]:
    return {f"{kind}/{position:04d}": variable for position, variable in enumerate(variables)}


def variable_arrays(variables: Mapping[str, keras.Variable]) -> dict[str, NDArray[Any]]:
    """Copies of the values. Floats without a NumPy dtype (bfloat16) become float32, which holds them exactly."""
    arrays = {key: np.array(keras.ops.convert_to_numpy(variable.value)) for key, variable in variables.items()}
    return {key: array if array.dtype.kind in "biuf" else array.astype(np.float32) for key, array in arrays.items()}


def restore_variables(variables: Mapping[str, keras.Variable], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Assigns every array to the variable of its key, or nothing unless all fit.

    Raises CheckpointError naming each variable that is missing from `arrays`, unknown to `variables`, or has another
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
        raise CheckpointError(f"this checkpoint belongs to another model or optimizer:\n  {listed}")
    for key, variable in variables.items():
        variable.assign(arrays[key])


def _write_zip(handle: IO[bytes], arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_META, json.dumps(dict(meta)))
        # force_zip64: the size of an entry is unknown when its header is written, and may exceed 2 GiB.
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)


def _stored(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    # Uncompressed entries cannot exceed the file, so no checkpoint is a decompression bomb.
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
        raise ValueError(f"{_META} is not a mapping")
    return meta
