"""Zip and .npz files of strangers: what they claim is compared with what is there before memory is taken for it."""

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
"""Of a zip's entry, before its name."""
_PARSER_ERRORS = (SyntaxError, tokenize.TokenError, TypeError, RecursionError, MemoryError)
"""numpy has Python's parser read an array's header."""


def regular_size(path: Path) -> int:
    """Bytes of a regular file, links followed: a pipe or a device may never end.

    Raises OSError, such as FileNotFoundError, and ValueError for any other kind.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    return status.st_size


def check_list(archive: zipfile.ZipFile) -> None:
    """A zip file that we wrote lists all its entries: without comments, for one bit of a comment's length makes a
    comment of the entries behind it. Raises ValueError."""
    if archive.comment or any(info.comment for info in archive.infolist()):
        raise ValueError("its list of entries is damaged")


def check_apart(archive: zipfile.ZipFile, byte_count: int) -> None:
    """Entries of a zip file of so many bytes lie one after the other. Raises ValueError.

    Entries that share their bytes make gigabytes of megabytes, without any compression.
    """
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise ValueError(f"entry {info.filename[:200]!r} shares its bytes with another")
        end = info.header_offset + _LOCAL_HEADER_BYTES + len(info.filename) + info.compress_size
    if end > byte_count:
        raise ValueError("its last entry goes on beyond the end of the file")


@dataclass(frozen=True, slots=True)
class NpyEntry:
    """One array of an .npz file, not read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _archive: zipfile.ZipFile
    _info: zipfile.ZipInfo

    @property
    def byte_count(self) -> int:
        """Of its values."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def read(self) -> NDArray[Any]:
        """The values; the entry's checksum is compared. Raises what zipfile and numpy raise over damage."""
        with self._archive.open(self._info) as file:
            values: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):  # the end of an entry compares its checksum
                raise ValueError(f"entry {self._info.filename!r} goes on after its array")
        return values


@contextmanager
def opened_zip(path: Path) -> Iterator[tuple[zipfile.ZipFile, Mapping[str, zipfile.ZipInfo]]]:
    """A zip file and its entries by name. Raises OSError, BadZipFile, and ValueError where a name stands twice, entries
    share bytes, or there are too many."""
    byte_count = regular_size(path)
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if len(entries) != len(archive.infolist()) or len(entries) > _MAX_ENTRIES:
            raise ValueError(f"a name stands in it twice, or it has more than {_MAX_ENTRIES:,} entries")
        check_list(archive)
        check_apart(archive, byte_count)
        yield archive, entries


def npy_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NpyEntry:
    """An entry of an .npz file, by its header alone. Raises ValueError where it is none, or not as long as it says."""
    with archive.open(info) as file:
        shape, dtype, header_bytes = _header(file)
    entry = NpyEntry(shape, dtype, archive, info)
    held = info.file_size - header_bytes
    if dtype.hasobject:
        raise ValueError(f"entry {info.filename[:200]!r} holds Python objects; read with allow_pickle=False")
    if entry.byte_count != held:
        raise ValueError(f"entry {info.filename[:200]!r} claims {dtype} of shape {shape}, and has {held:,} bytes")
    return entry


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # later ones are for headers over 64 KB
        raise ValueError(f"an array in version {version} of the format; expected (1, 0)")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except _PARSER_ERRORS as error:
        raise ValueError(f"an array without a header that can be read ({type(error).__name__})") from error
    if any(side < 0 for side in shape):
        raise ValueError(f"an array of shape {shape}")
    return shape, dtype, file.tell()
