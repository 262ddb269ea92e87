"""The names below a data folder: each folder is listed once, and links lead nowhere else."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from carcls.dataset.names import is_junk, may_be_photo, natural_key, same_text
from carcls.photos.headers import HEAD_BYTES, starts_like_a_photo


class Kind(StrEnum):
    """What a name in a folder is; but for a file, the value says why it is no photo."""

    FILE = ""
    FOLDER = "a folder, not a photo"
    LINKED_FOLDER = "a link to a folder, not a photo"
    OUTSIDE = "a link that leaves the data folder"
    DANGLING = "a link to nothing"
    OTHER = "not a regular file"
    MISSING = "no such file"

    @property
    def is_folder(self) -> bool:
        """True for a folder, linked or not."""
        return self in (Kind.FOLDER, Kind.LINKED_FOLDER)


@dataclass(frozen=True, slots=True)
class Listed:
    """One folder."""

    entries: dict[str, Kind] = field(default_factory=dict)
    """In natural order, without what systems leave behind."""
    problem: str = ""
    """Why it could not be listed."""


class Tree:
    """A data folder as its names tell; only files with an odd ending are opened. Paths are posix, relative to the root.

    Links are followed where they lead to something in the root, or in a folder of `own` (such as `train`), which may
    itself be a link to wherever its owner keeps it.
    """

    def __init__(self, root: Path, own: Sequence[str] = ()) -> None:
        self._root = root
        self._bases = tuple(os.path.realpath(root / name) for name in ("", *own))
        self._listed: dict[str, Listed] = {}
        self._located: dict[str, tuple[str, str]] = {}
        self._spellings: dict[str, dict[str, str]] = {}

    def listed(self, folder: str) -> Listed:
        """What stands in a folder; nothing where there is no such folder."""
        if folder not in self._listed:
            self._listed[folder] = self._read(folder)
        return self._listed[folder]

    def folders(self, folder: str) -> Iterator[str]:
        """Names of the folders in a folder, links included, in natural order."""
        return (name for name, kind in self.listed(folder).entries.items() if kind.is_folder)

    def is_empty(self, folder: str) -> bool:
        """True for a folder with nothing in it but what systems leave behind."""
        listed = self.listed(folder)
        return not listed.entries and not listed.problem

    def may_be_photo(self, path: str, kind: Kind) -> bool:
        """True for a name with the ending of a photo or without any, and for a file that begins as photos do: `1.jpg~`,
        `1.jpg_large`, `st. 12`."""
        if may_be_photo(path.rpartition("/")[2]):
            return True
        return kind is Kind.FILE and starts_like_a_photo(self._head(path))

    def _head(self, path: str) -> bytes:
        try:
            with (self._root / path).open("rb") as file:
                return file.read(HEAD_BYTES)
        except OSError:  # by its name no photo, and closed to us
            return b""

    def locate(self, path: str) -> tuple[str, str]:
        """The path as it is spelled on disk, and why no photo can be read there, or an empty text.

        Names that differ only in Unicode's composed or decomposed form are the same: archives made on a Mac hold the
        one, tables the other.
        """
        folder, _, name = path.rpartition("/")
        found, reason = self.locate_folder(folder)
        if reason:
            return path, reason
        if is_junk(name):
            return path, "a hidden or system file"
        name = self._spelled(found, name)
        return join(found, name), str(self.listed(found).entries.get(name, Kind.MISSING))

    def locate_folder(self, folder: str) -> tuple[str, str]:
        """The same for a folder: how it is spelled, and why it cannot be looked into."""
        if folder not in self._located:
            self._located[folder] = self._locate_folder(folder)
        return self._located[folder]

    def walk(self, folder: str) -> Iterator[tuple[str, Kind]]:
        """Paths of everything below a folder but folders that can be listed, in natural order."""
        for name, kind in self.listed(folder).entries.items():
            path = join(folder, name)
            if kind is Kind.FOLDER and not self.listed(path).problem:
                yield from self.walk(path)
            else:
                yield path, kind

    def _locate_folder(self, folder: str) -> tuple[str, str]:
        found = ""
        for part in folder.split("/") if folder else ():
            name = self._spelled(found, part)
            kind = self.listed(found).entries.get(name, Kind.MISSING)
            if not kind.is_folder:
                return folder, str(Kind.OUTSIDE if kind is Kind.OUTSIDE else Kind.MISSING)
            found = join(found, name)
        problem = self.listed(found).problem
        return found, f"its folder {problem}" if problem else ""

    def _spelled(self, folder: str, name: str) -> str:
        entries = self.listed(folder).entries
        if name in entries or name.isascii():
            return name
        if folder not in self._spellings:
            self._spellings[folder] = {same_text(entry): entry for entry in entries}
        return self._spellings[folder].get(same_text(name), name)

    def _read(self, folder: str) -> Listed:
        place = self._root / folder
        if not self._is_inside(place):
            return Listed(problem=str(Kind.OUTSIDE))
        try:
            with os.scandir(place) as found:
                kinds = {entry.name: self._kind(entry) for entry in found if not is_junk(entry.name)}
        except FileNotFoundError:
            return Listed()
        except OSError as error:
            return Listed(problem=f"cannot be listed: {error.strerror}")
        return Listed({name: kinds[name] for name in sorted(kinds, key=natural_key)})

    def _kind(self, entry: os.DirEntry[str]) -> Kind:
        linked = entry.is_symlink()
        if linked and not self._is_inside(Path(entry.path)):
            return Kind.OUTSIDE
        try:
            if entry.is_dir():
                return Kind.LINKED_FOLDER if linked else Kind.FOLDER
            if entry.is_file():
                return Kind.FILE
        except OSError:  # a circle of links, or a target in a folder closed to us
            return Kind.DANGLING
        return Kind.DANGLING if linked and not Path(entry.path).exists() else Kind.OTHER

    def _is_inside(self, place: Path) -> bool:
        real = os.path.realpath(place)
        return any(real == base or real.startswith(f"{base.rstrip('/')}/") for base in self._bases)


def join(folder: str, name: str) -> str:
    """A posix path; the root is the empty text."""
    return f"{folder}/{name}" if folder else name
