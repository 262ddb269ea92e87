"""A tar archive's entries, one by one, in bounded memory.

Python's own reader takes into memory whatever an entry's headers claim: kilobytes of .tar.gz may so become gigabytes,
and a negative size everything up to the end, or the same entries for ever.
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
"""Of all headers of one entry: a name takes 1 KiB at most, what else programs note of a file a few."""
MAX_GLOBAL_SETTINGS = 100
"""In force for all entries that follow, and copied to each; git writes one."""

_OPENERS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open), (b"]\x00\x00", lzma.open))
"""By an archive's first bytes; any other is taken for a plain tar."""


class Tar:
    """A tar archive, compressed or not. Errors of Python's readers pass through; DataError where more is claimed for an
    entry's headers than any needs."""

    def __init__(self, archive: Path, name: str) -> None:
        """name: what messages call the archive."""
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
        """All entries, once; the content of each is to be read before the next is asked for."""
        at = -1
        while (info := self._next()) is not None:
            if info.size < 0 or info.offset <= at:
                raise DataError(f"{self._name}: broken at {info.name[:200]!r}: a negative size; download it again")
            if info.issparse():
                raise DataError(
                    f"{self._name}: {info.name[:200]!r} is stored as a sparse file; pack it again without --sparse"
                )
            if len(self._tar.pax_headers) > MAX_GLOBAL_SETTINGS:
                raise DataError(
                    f"{self._name}: more than {MAX_GLOBAL_SETTINGS} settings for all its entries before"
                    f" {info.name[:200]!r}: a decompression bomb; unpack it by hand if you trust it"
                )
            at = info.offset
            yield info
            self._file.left = MAX_HEADER_BYTES
            self._file.whose = f"{self._name}: the entry after {info.name[:200]!r}"

    def extractfile(self, info: tarfile.TarInfo) -> IO[bytes] | None:
        """The content of the entry that was asked for last; None for what has none."""
        return self._tar.extractfile(info)

    def _next(self) -> tarfile.TarInfo | None:
        info = self._tar.next()
        self._file.left = None
        self._tar.members = []  # type: ignore[attr-defined]  # not in the stubs; else it keeps all entries for ever
        return info


class _Metered(io.BufferedIOBase):
    """A file of which so many bytes more may be read, those that are skipped not counted."""

    def __init__(self, file: io.BufferedIOBase, whose: str) -> None:
        self._file = file
        self.whose = whose
        self.left: int | None = MAX_HEADER_BYTES
        """None: no limit, for content is read in pieces."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.left is None:
            return self._file.read(-1 if size is None else size)
        if size is None or not 0 <= size <= self.left:
            raise DataError(
                f"{self.whose} has headers of more than {MAX_HEADER_BYTES:,} bytes: a decompression bomb, or broken;"
                " unpack it by hand if you trust it"
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
