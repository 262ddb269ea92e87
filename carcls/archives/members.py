"""What a zip or tar archive holds: its files with checked names, or the reason why it is refused. Writes nothing."""

import lzma
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carcls.archives.budget import Budget
from carcls.archives.names import name_of, read_names
from carcls.archives.tar import Tar
from carcls.errors import DataError
from carcls.system.zip_files import check_no_overlap

MAX_NAME_BYTES = 255
"""Of one part of a path: what the usual file systems store."""
MAX_PATH_BYTES = 1024
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Python unpacks the others in pieces without bound: 4 KB of bzip2 may be 4 GB."""
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
    RecursionError,  # a tar of headers for headers
)
"""What Python's readers raise for archives that are cut short or damaged."""
_NESTED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
Read = Callable[[int], bytes]
"""The next bytes of an entry, at most so many; empty at its end. Raises DataError where the archive is broken."""

_LITTER = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$|Thumbs\.db$)")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive."""

    position: int
    """Among all entries of the archive."""
    path: str
    """Posix, relative, without `.` or `..`: it stays below the folder it is unpacked to."""
    byte_count: int
    crc: int | None
    """CRC-32 of the content; None where the archive does not say."""

    @property
    def is_archive(self) -> bool:
        """By its name: it is unpacked in turn."""
        return self.path.lower().endswith(_NESTED)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file as the archive names it."""

    position: int
    name: str
    raw: bytes | None
    """The name's bytes where the archive does not say how they are coded."""
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
    """The files of a zip or tar archive; folders and what macOS and Windows leave behind are passed over.

    name: what messages call the archive. budget: what is left of the outermost archive's; without one, it is that.
    encoding: of names whose coding the archive does not note; None: one that makes sense of all of them, which is told.
    Raises DataError for an archive that is broken, encrypted, or claims more than its budget, and for an entry that is
    a link or a device, or has a name that leaves the folder, that no file can have, that stands there twice, or that
    differs from another only by case or Unicode form.
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
    """Of all entries, those that need it read in one coding."""
    try:
        read, note = read_names([entry.raw for entry in entries if entry.raw is not None], encoding)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    if note:
        tell(f"{name}: {note}")
    found = iter(read)
    return [entry.name if entry.raw is None else next(found) for entry in entries]


def check_collisions(paths: list[str], name: str) -> None:
    """Raises DataError where two paths are one file on some file system, or one is a folder of another."""
    spelling: dict[str, str] = {}
    files: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            spelled = "/".join(parts[:count])
            key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", spelled).casefold())
            other = spelling.setdefault(key, spelled)
            if other != spelled:
                raise DataError(
                    f"{name}: {spelled!r} and {other!r} differ only by case or Unicode form, and are one file on many"
                    " file systems; rename one and pack again"
                )
            if count < len(parts):
                folders.add(spelled)
            elif spelled in files:
                raise DataError(f"{name}: {spelled!r} stands in it twice; which one is meant? Pack it again with one")
            else:
                files.add(spelled)
    both = sorted(files & folders)
    if both:
        raise DataError(f"{name}: {both[0]!r} is a file and a folder in it; pack it again with other names")


def checked_path(raw: str, name: str) -> str:
    """An entry's name as a path that stays below its folder. Raises DataError."""
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    reason = _why_refused(raw, parts)
    if reason:
        raise DataError(f"{name}: refused for its entry {raw[:200]!r}: {reason}; nothing of it was unpacked")
    return "/".join(parts)


def _why_refused(raw: str, parts: list[str]) -> str:
    """Empty for a name that is in order."""
    try:
        sizes = [len(part.encode("utf-8", "surrogateescape")) for part in parts]
    except UnicodeEncodeError:
        return "a name that is no Unicode text"
    refusals = {
        "an absolute name, which would leave the folder": raw.startswith("/") or re.match(r"[A-Za-z]:", raw),
        "a name with '..', which would leave the folder": ".." in parts,
        "a name with a backslash, which some systems take for a folder's end": "\\" in raw,
        "a name with control characters": any(unicodedata.category(sign) == "Cc" for sign in raw),
        "an empty name": not parts,
        f"a name over {MAX_NAME_BYTES} bytes, or {MAX_PATH_BYTES} with folders": max(sizes, default=0) > MAX_NAME_BYTES
        or sum(sizes) + len(sizes) > MAX_PATH_BYTES,
    }
    return next((reason for reason, applies in refusals.items() if applies), "")


def contents(archive: Path, name: str, wanted: set[int]) -> Iterator[tuple[int, Read]]:
    """Position and content of the wanted entries, in the archive's order; each is read before the next is asked for.

    Raises DataError where the archive turns out to be broken, here and in `Read`.
    """
    if not wanted:  # a tar would be unpacked to its end to find nothing
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
            text, raw = name_of(info)
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
            text, raw = name_of(info)
            if raw is None:
                checked_path(text, name)
            if info.isreg():
                yield _Entry(position, text, raw, info.size, None)
            elif not info.isdir():
                raise _special(name, text)


def _special(name: str, path: str) -> DataError:
    return DataError(
        f"{name}: refused for its entry {path!r}: a link, pipe or device, and no plain file; nothing of it was"
        " unpacked. Pack it again with plain files"
    )


def _is_zip(archive: Path) -> bool:
    """By its first bytes: `zipfile.is_zipfile` also takes a tar whose last file is a zip."""
    with archive.open("rb") as file:
        return file.read(2) == b"PK"


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Errors of Python's readers, as ours."""
    try:
        yield
    except DataError:
        raise
    except NotImplementedError as error:
        raise DataError(f"{name}: packed in a way that Python cannot read: {error}; unpack it by hand") from error
    except tarfile.ReadError as error:
        raise DataError(f"{name}: not a zip or tar archive, or cut short: {error}; download it again") from error
    except _BROKEN as error:
        raise DataError(f"{name}: broken or cut short: {error}; download it again") from error
