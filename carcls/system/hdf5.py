"""Opens untrusted HDF5 files only if they hold nothing but complete, plain arrays.

HDF5 also supports links to other files, arrays stored there, arrays that declare gigabytes but store nothing, and
filters that unpack without bound. Keras uses none of these.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

import h5py  # type: ignore[import-untyped]  # ships no types
import numpy as np

from carcls.system.zip_files import regular_size

_MAX_OBJECTS = 100_000
_MAX_DEPTH = 50
_MAX_NAMES = 4_096
"""Names in one attribute."""
_HEAP = b"GCOL\x01\0\0\0"
"""Signature and version of a global heap collection (HDF5 File Format Specification, III.E); its size follows."""
_MAX_TEXT_BYTES = 2 * 2**30
"""Limit for the names in one attribute. A model file's configuration shares their heap: 1 MB with 1,041 names."""
_LAYOUTS = (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)


@contextmanager
def plain_hdf5(source: Path | BinaryIO) -> Iterator[tuple[h5py.File, Mapping[str, h5py.Dataset]]]:
    """The file and its arrays by name, not yet read.

    source: a path or a seekable file. Every array is numeric, uncompressed and inside the file, and together they are
    not larger than the file. Raises ValueError naming what is not, OSError, and what h5py raises for damaged files.
    """
    byte_count = regular_size(source) if isinstance(source, Path) else source.seek(0, 2)
    with h5py.File(source, "r") as file:
        arrays: dict[str, h5py.Dataset] = {}
        _collect(file, arrays)
        claimed = sum(array.nbytes for array in arrays.values())
        if claimed > byte_count:
            raise ValueError(f"its arrays claim {claimed:,} bytes, but the file has {byte_count:,}")
        yield file, arrays


def names_in(group: h5py.Group, attribute: str) -> list[str]:
    """The strings in an attribute. Raises ValueError for other types or too many strings."""
    held = group.attrs.get_id(attribute)
    if held.shape == (0,):  # h5py writes an empty list as floats
        return []
    is_text = held.dtype.kind == "S" or h5py.check_string_dtype(held.dtype) is not None
    if not is_text or len(held.shape) != 1 or held.shape[0] > _MAX_NAMES:
        raise ValueError(f"{attribute!r} of {group.name!r} is not a list of at most {_MAX_NAMES:,} names")
    if held.dtype.kind != "S":
        _check_heaps(Path(group.file.filename), held.shape[0])
    return [value.decode() if isinstance(value, bytes) else str(value) for value in group.attrs[attribute]]


def _check_heaps(path: Path, names: int) -> None:
    """Raises ValueError if heaps are too large. Variable-length strings are stored in heaps, and all names may refer to
    the same megabytes of one."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        at = content.find(_HEAP)
        while at >= 0:
            byte_count = int.from_bytes(content[at + len(_HEAP) : at + len(_HEAP) + 8], "little")
            if byte_count * names > _MAX_TEXT_BYTES:
                raise ValueError(f"{names:,} names, which may have {byte_count:,} bytes each")
            at = content.find(_HEAP, at + len(_HEAP))


def _collect(file: h5py.File, arrays: dict[str, h5py.Dataset]) -> None:
    seen: set[int] = set()
    waiting: list[tuple[str, h5py.Group, int]] = [("", file, 0)]
    while waiting:
        path, group, depth = waiting.pop()
        for name in group:
            inner = f"{path}/{name}" if path else name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{inner!r} is a link; expected arrays inside the file")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise ValueError(f"{inner!r} occurs in the file twice")
            seen.add(address)
            if len(seen) > _MAX_OBJECTS or depth > _MAX_DEPTH:
                raise ValueError(f"more than {_MAX_OBJECTS:,} objects, or groups nested more than {_MAX_DEPTH} deep")
            if isinstance(item, h5py.Group):
                waiting.append((inner, item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                _check_array(item, inner)
                arrays[inner] = item
            else:
                raise ValueError(f"{inner!r} is neither an array nor a group")


def _check_array(array: h5py.Dataset, name: str) -> None:
    if array.shape is None or array.dtype.kind not in "biuf":
        raise ValueError(f"{name!r} holds {array.dtype}, not numbers")
    making = array.id.get_create_plist()
    if making.get_external_count() or making.get_layout() not in _LAYOUTS:
        raise ValueError(f"{name!r} is stored in another file")
    if making.get_nfilters():
        raise ValueError(f"{name!r} is compressed; write the file again without compression")
    if array.id.get_storage_size() < array.nbytes:
        raise ValueError(f"{name!r} claims {array.nbytes:,} bytes but holds {array.id.get_storage_size():,}")
    if array.chunks and int(np.prod(array.chunks, dtype=object)) > max(1, 2 * array.size):
        raise ValueError(f"{name!r} is stored in chunks larger than itself")
