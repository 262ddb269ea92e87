"""Turns what a user gives as DATA into a folder of photos: a folder as it is, archives unpacked."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from carcls.archives.unpack import OnBytes, unpack
from search.errors import StartError
from search.start.origin import check_origin

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_TABLES = (".csv",)
_NAME_END = 64


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be unpacked, if anything, and where the photos then are."""

    photos: Path
    archives: tuple[Path, ...] = ()
    tables: tuple[Path, ...] = ()
    """CSV files to copy beside the unpacked photos."""


def is_data(path: Path) -> bool:
    """True for a folder or an archive, in contrast to an experiment file."""
    return path.is_dir() or _is_archive(path)


def source_of(data: Path, *, into: Path) -> Source:
    """Where the photos of a folder or archive are, or will be below `into`. Reads names only.

    A folder that holds archives and no other folder, as Kaggle shows the contest's, is unpacked too. Raises StartError.
    """
    if _is_archive(data) and data.is_file():
        return Source(into / study_name(data), (data,))
    if not data.is_dir():
        raise StartError(f"{data}: no such folder or archive; expected photos, or an experiment file (.yaml)")
    there = sorted(data.iterdir())
    archives = tuple(path for path in there if _is_archive(path) and path.is_file())
    if not archives or any(path.is_dir() for path in there):
        return Source(data)
    tables = tuple(path for path in there if path.suffix.lower() in _TABLES and path.is_file())
    return Source(into / study_name(data), archives, tables)


def unpack_source(source: Source, *, on_bytes: OnBytes, say: Callable[[str], None]) -> None:
    """Unpacks what is not unpacked yet. Raises StartError if other archives were unpacked there, DataError, OSError."""
    if not source.archives:
        return
    before = partial(check_origin, source.photos, source.archives)
    end = unpack(source.archives, source.photos, replace=False, on_bytes=on_bytes, before=before)
    for table in source.tables:
        if not (target := source.photos / table.name).exists():
            shutil.copyfile(table, target)
    for note in end.notes:
        say(f"note: {note}")
    say(f"unpacked: {end.written:,} files, {end.kept:,} were there already: {source.photos}")


def study_name(data: Path) -> str:
    """A study's name from the name of a folder or archive: letters, digits, `-` and `_`. Pure but for `resolve`."""
    name = data.resolve().name
    for ending in _ARCHIVES:
        name = name[: -len(ending)] if name.lower().endswith(ending) else name
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:_NAME_END]
    return plain or "photos"


def _is_archive(path: Path) -> bool:
    return path.name.lower().endswith(_ARCHIVES)
