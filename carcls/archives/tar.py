"""Reads the entries of a tar archive one by one in bounded memory.

Python's reader allocates whatever an entry's headers declare: kilobytes of .tar.gz may become gigabytes, and a negative
size may read everything up to the end or the same entries forever.
"""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from carcls.errors import DataError

MAX_HEADER_BYTES = 128 * 2**10
"""Limit for all headers of one entry. A name takes at most 1 KiB, other attributes a few."""
MAX_GLOBAL_SETTINGS = 100
"""Limit for global pax headers. Python copies them to every later entry; git writes one."""

_OPENERS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open), (b"]\x00\x00", lzma.open))
"""Signature -> opener. Other files are read as uncompressed tar."""


class Tar:
    """A tar archive, compressed or not.

    Raises what Python's readers raise, and DataError if an entry's headers are implausibly large.
    """

    def __init__(self, archive: Path, name: str) -> None:
        """name: the archive's name in messages."""
        self._name = name
        with ExitStack() as closing:
            self._file = _Metered(closing.enter_context(_decompressed(archive)), f"{name}: its first entry")
            self._tar = closing.enter_context(tarfile.open(fileobj=self._file, mode="r:"))
            self._closing = closing.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """All entries, once. Read the content of each before asking for the next."""
        at = -1
        while (info := self._next()) is not None:
            if info.size < 0 or info.offset <= at:
                raise DataError(f"{self._name}: broken at {info.name[:200]!r}: a negative size; download it again")
            if info.issparse():
                raise DataError(
                    f"{self._name}: {info.name[:200]!r} is a sparse file; pack the archive again without --sparse"
                )
            if len(self._tar.pax_headers) > MAX_GLOBAL_SETTINGS:
                raise DataError(
                    f"{self._name}: more than {MAX_GLOBAL_SETTINGS} global headers before {info.name[:200]!r}:"
                    " a decompression bomb; unpack it by hand if you trust it"
                )
            at = info.offset
            yield info
            # From here on the next entry's headers are read, which are limited again.
            self._file.left = MAX_HEADER_BYTES
            self._file.whose = f"{self._name}: the entry after {info.name[:200]!r}"

    def extractfile(self, info: tarfile.TarInfo) -> IO[bytes] | None:
        """Content of the latest entry, or None if it has none."""
        return self._tar.extractfile(info)

    def _next(self) -> tarfile.TarInfo | None:
        info = self._tar.next()
        self._file.left = None
        self._tar.members = []  # type: ignore[attr-defined]  # not in the stubs; otherwise it keeps all entries forever
        return info


class _Metered(io.BufferedIOBase):
    """A file with a limit on the bytes that may still be read. Skipped bytes do not count."""

    def __init__(self, file: io.BufferedIOBase, whose: str) -> None:
        self._file = file
        self.whose = whose
        self.left: int | None = MAX_HEADER_BYTES
        """None means no limit, while content is read in pieces."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.left is None:
            return self._file.read(-1 if size is None else size)
        if size is None or not 0 <= size <= self.left:
            raise DataError(
                f"{self.whose} has headers of more than {MAX_HEADER_BYTES:,} bytes: a decompression bomb or a broken"
                " archive; unpack it by hand if you trust it"
            )
        self.left -= size
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def _decompressed(archive: Path) -> io.BufferedIOBase:
    with archive.open("rb") as file:
        start = file.read(6)
    return next((opener for magic, opener in _OPENERS if start.startswith(magic)), open)(archive, "rb")
