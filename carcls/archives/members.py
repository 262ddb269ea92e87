"""Lists the files of a zip or tar archive under checked names, or rejects the archive. Writes nothing."""

import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carcls.archives.entry_names import decode_names, entry_name
from carcls.archives.member_paths import check_collisions, checked_path
from carcls.archives.tar import Tar
from carcls.archives.unpack_budget import Budget
from carcls.errors import DataError
from carcls.system.zip_files import check_no_overlap

_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Python does not bound the size of unpacked pieces for other methods: 4 KB of bzip2 may become 4 GB."""
_TAR_HEADER_BYTES = 512

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    ValueError,
    RecursionError,  # a tar with headers that describe headers
)
"""What Python's readers raise for truncated or damaged archives."""
_NESTED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
Read = Callable[[int], bytes]
"""Reads the next bytes of an entry, at most as many as asked for; empty at its end. Raises DataError if broken."""

_LITTER = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$|Thumbs\.db$)")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive."""

    position: int
    """Among all entries of the archive."""
    path: str
    """POSIX, relative, without `.` or `..`, so it stays inside the target folder."""
    byte_count: int
    crc: int | None
    """CRC-32 of the content, or None if the archive does not store it."""

    @property
    def is_archive(self) -> bool:
        """True if the name says that it is an archive, which is unpacked in turn."""
        return self.path.lower().endswith(_NESTED)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file under the name that the archive stores."""

    position: int
    name: str
    raw: bytes | None
    """The name's bytes if the archive does not declare their encoding."""
    byte_count: int
    crc: int | None


def read_members(
    archive: Path,
    name: str,
    budget: Budget | None = None,
    *,
    encoding: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Member]:
    """The files of a zip or tar archive, without folders and system files of macOS and Windows.

    name: the archive's name in messages. budget: the remaining budget of the outermost archive, or None if this is it.
    encoding: of names whose encoding the archive does not declare; None guesses one for all of them and reports it
    through `tell`.

    Raises DataError for an archive that is broken, encrypted or over budget, and for entries that are links or devices,
    or whose names leave the folder, are invalid or duplicate, or differ from another only by case or Unicode form.
    """
    found = _entries(archive, name, budget or Budget.of(archive))
    entries = [entry for entry in found if not _LITTER.search(entry.name)]
    members = [
        Member(entry.position, checked_path(text, name), entry.byte_count, entry.crc)
        for entry, text in zip(entries, _names(entries, name, encoding, tell), strict=True)
    ]
    check_collisions([member.path for member in members], name)
    return members


def _names(entries: list[_Entry], name: str, encoding: str | None, tell: Callable[[str], None]) -> list[str]:
    """Names of all entries. Those without a declared encoding are decoded with one encoding for all."""
    try:
        read, note = decode_names([entry.raw for entry in entries if entry.raw is not None], encoding)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    if note:
        tell(f"{name}: {note}")
    found = iter(read)
    return [entry.name if entry.raw is None else next(found) for entry in entries]


def read_contents(archive: Path, name: str, wanted: set[int]) -> Iterator[tuple[int, Read]]:
    """Position and reader of the wanted entries, in the archive's order. Read each one before asking for the next.

    Raises DataError if the archive turns out to be broken, here and in `Read`.
    """
    if not wanted:  # a tar would be decompressed to its end for nothing
        return
    with _opened(archive, name) as opened:
        entries = iter(enumerate(opened.infolist() if isinstance(opened, zipfile.ZipFile) else opened))
        while (entry := _next(entries, name)) is not None:
            position, info = entry
            if position in wanted:
                yield position, _reader(opened, info, name)


def _opened(archive: Path, name: str) -> zipfile.ZipFile | Tar:
    with _told(name):
        return zipfile.ZipFile(archive) if _is_zip(archive) else Tar(archive, name)


def _next(entries: Iterator[tuple[int, Any]], name: str) -> tuple[int, Any] | None:
    with _told(name):
        return next(entries, None)


def _reader(opened: zipfile.ZipFile | Tar, info: Any, name: str) -> Read:  # noqa: ANN401 ZipInfo of a ZipFile, TarInfo of a Tar
    with _told(name):
        content = opened.open(info) if isinstance(opened, zipfile.ZipFile) else opened.extractfile(info)
    if content is None:
        raise DataError(f"{name}: {info.name!r} has no content; download the archive again")

    def read(byte_count: int) -> bytes:
        with _told(name):
            return content.read(byte_count)

    return read


def _entries(archive: Path, name: str, budget: Budget) -> Iterator[_Entry]:
    with _told(name):
        entries = _zip_entries(archive, name, budget) if _is_zip(archive) else _tar_entries(archive, name, budget)
        yield from entries


def _zip_entries(archive: Path, name: str, budget: Budget) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as zipped:
        for position, info in enumerate(zipped.infolist()):
            budget.spend(name, info.filename, info.file_size)
            text, raw = entry_name(info)
            if raw is None:
                checked_path(text, name)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(name, text)
            if info.flag_bits & 0x1:
                raise DataError(f"{name}: {text!r} is encrypted; unpack it by hand with its password")
            if info.compress_type not in _ZIP_METHODS:
                raise NotImplementedError(f"{text!r} is compressed by method {info.compress_type}, not by deflate")
            if not info.is_dir():
                yield _Entry(position, text, raw, info.file_size, info.CRC)
        check_no_overlap(zipped, archive.stat().st_size)


def _tar_entries(archive: Path, name: str, budget: Budget) -> Iterator[_Entry]:
    with Tar(archive, name) as tarred:
        for position, info in enumerate(tarred):
            budget.spend(name, info.name, info.size + _TAR_HEADER_BYTES)
            if info.isdir() and info.name in (".", ""):
                continue
            text, raw = entry_name(info)
            if raw is None:
                checked_path(text, name)
            if info.isreg():
                yield _Entry(position, text, raw, info.size, None)
            elif not info.isdir():
                raise _special(name, text)


def _special(name: str, path: str) -> DataError:
    return DataError(
        f"{name}: rejected because of its entry {path!r}: a link, pipe or device, not a regular file; nothing was"
        " unpacked. Pack the archive again with regular files"
    )


def _is_zip(archive: Path) -> bool:
    """Decides by the first bytes, since `zipfile.is_zipfile` also accepts a tar whose last file is a zip."""
    with archive.open("rb") as file:
        return file.read(2) == b"PK"


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turns errors of Python's readers into DataError."""
    try:
        yield
    except DataError:
        raise
    except NotImplementedError as error:
        raise DataError(f"{name}: packed in a way that Python cannot read: {error}; unpack it by hand") from error
    except tarfile.ReadError as error:
        raise DataError(f"{name}: not a zip or tar archive, or truncated: {error}; download it again") from error
    except _BROKEN as error:
        raise DataError(f"{name}: broken or truncated: {error}; download it again") from error
