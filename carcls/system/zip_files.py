"""Untrusted zip and .npz files: sizes that they declare are checked against the file before memory is allocated."""

import stat
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_MAX_ENTRIES = 100_000
_LOCAL_HEADER_BYTES = 30
"""Fixed part of a zip entry's local header, before the name."""
_PARSER_ERRORS = (SyntaxError, tokenize.TokenError, TypeError, RecursionError, MemoryError)
"""NumPy parses an array's header with Python's parser, which may raise any of these."""


def regular_size(path: Path) -> int:
    """Size in bytes of a regular file, following links. Reading a pipe or a device might never end.

    Raises OSError, such as FileNotFoundError, and ValueError if the file is not regular.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    return status.st_size


def check_no_comments(archive: zipfile.ZipFile) -> None:
    """Raises ValueError if a zip file has comments, which files that we write never have.

    One flipped bit in a comment's length would turn the entries after it into a comment, and hide them.
    """
    if archive.comment or any(info.comment for info in archive.infolist()):
        raise ValueError("its list of entries is damaged")


def check_no_overlap(archive: zipfile.ZipFile, byte_count: int) -> None:
    """Raises ValueError if entries of a zip file of `byte_count` bytes overlap or exceed the file.

    Overlapping entries turn megabytes into gigabytes without any compression.
    """
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise ValueError(f"entry {info.filename[:200]!r} shares its bytes with another")
        end = info.header_offset + _LOCAL_HEADER_BYTES + len(info.filename) + info.compress_size
    if end > byte_count:
        raise ValueError("its last entry ends beyond the end of the file")


@dataclass(frozen=True, slots=True)
class NpyEntry:
    """One array of an .npz file, not yet read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _archive: zipfile.ZipFile
    _info: zipfile.ZipInfo

    @property
    def byte_count(self) -> int:
        """Size of the array in bytes."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def read(self) -> NDArray[Any]:
        """The values, with the entry's checksum verified. Raises what zipfile and NumPy raise for damaged data."""
        with self._archive.open(self._info) as file:
            values: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):  # zipfile verifies the checksum at the end of an entry
                raise ValueError(f"entry {self._info.filename!r} has bytes after its array")
        return values


@contextmanager
def opened_zip(path: Path) -> Iterator[tuple[zipfile.ZipFile, Mapping[str, zipfile.ZipInfo]]]:
    """A zip file and its entries by name.

    Raises OSError, BadZipFile, and ValueError for duplicate names, overlapping entries, or too many entries.
    """
    byte_count = regular_size(path)
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if len(entries) != len(archive.infolist()) or len(entries) > _MAX_ENTRIES:
            raise ValueError(f"a name occurs twice, or it has more than {_MAX_ENTRIES:,} entries")
        check_no_comments(archive)
        check_no_overlap(archive, byte_count)
        yield archive, entries


def npy_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NpyEntry:
    """An entry of an .npz file; reads only its header. Raises ValueError if that is invalid or the size is wrong."""
    with archive.open(info) as file:
        shape, dtype, header_bytes = _header(file)
    entry = NpyEntry(shape, dtype, archive, info)
    held = info.file_size - header_bytes
    if dtype.hasobject:
        raise ValueError(f"entry {info.filename[:200]!r} holds Python objects; read with allow_pickle=False")
    if entry.byte_count != held:
        raise ValueError(f"entry {info.filename[:200]!r} claims {dtype} of shape {shape}, but has {held:,} bytes")
    return entry


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # later versions are for headers over 64 KB
        raise ValueError(f"an array in version {version} of the format; expected (1, 0)")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except _PARSER_ERRORS as error:
        raise ValueError(f"an array with an unreadable header ({type(error).__name__})") from error
    if any(side < 0 for side in shape):
        raise ValueError(f"an array of shape {shape}")
    return shape, dtype, file.tell()
