"""Lists the files in a data folder. Each folder is read once; links out of the data folder are not followed."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from carcls.dataset.names import is_junk, may_be_photo, natural_key, normalized_name
from carcls.photos.headers import HEAD_BYTES, has_photo_signature


class Kind(StrEnum):
    """Kind of a directory entry. Except for FILE, the value says why it is no photo."""

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
class Listing:
    """One folder."""

    entries: dict[str, Kind] = field(default_factory=dict)
    """In natural order, without hidden and system files."""
    problem: str = ""
    """Why it could not be listed."""


class Tree:
    """The entries of a data folder. Opens only files with unknown suffixes. Paths are POSIX, relative to the root.

    Links are followed if they lead into the root or into a folder of `own` (such as `train`), which may itself be a
    link to any place.
    """

    def __init__(self, root: Path, own: Sequence[str] = ()) -> None:
        self._root = root
        self._bases = tuple(os.path.realpath(root / name) for name in ("", *own))
        self._listed: dict[str, Listing] = {}
        self._located: dict[str, tuple[str, str]] = {}
        self._spellings: dict[str, dict[str, str]] = {}

    def listed(self, folder: str) -> Listing:
        """Entries of a folder; empty if it does not exist."""
        if folder not in self._listed:
            self._listed[folder] = self._read(folder)
        return self._listed[folder]

    def folders(self, folder: str) -> Iterator[str]:
        """Names of the folders in a folder, links included, in natural order."""
        return (name for name, kind in self.listed(folder).entries.items() if kind.is_folder)

    def is_empty(self, folder: str) -> bool:
        """True for a folder that contains at most hidden and system files."""
        listed = self.listed(folder)
        return not listed.entries and not listed.problem

    def may_be_photo(self, path: str, kind: Kind) -> bool:
        """True for a name with a photo suffix or none, and for a file with a photo's signature, such as `1.jpg~`,
        `1.jpg_large` or `st. 12`."""
        if may_be_photo(path.rpartition("/")[2]):
            return True
        return kind is Kind.FILE and has_photo_signature(self._head(path))

    def _head(self, path: str) -> bytes:
        try:
            with (self._root / path).open("rb") as file:
                return file.read(HEAD_BYTES)
        except OSError:  # not a photo by its name, and not readable
            return b""

    def locate(self, path: str) -> tuple[str, str]:
        """The path as spelled on disk, and the reason why no photo can be read there, or an empty string.

        Names match if they differ only in Unicode form or outer spaces: archives made on macOS use the decomposed
        form, CSV files mostly the composed one, and their cells are stripped.
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
        """The same for a folder: its spelling on disk, and the reason why it cannot be listed."""
        if folder not in self._located:
            self._located[folder] = self._locate_folder(folder)
        return self._located[folder]

    def walk(self, folder: str) -> Iterator[tuple[str, Kind]]:
        """Everything below a folder except listable folders themselves, in natural order."""
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
        if name in entries:
            return name
        if folder not in self._spellings:
            self._spellings[folder] = {normalized_name(entry): entry for entry in entries}
        return self._spellings[folder].get(normalized_name(name), name)

    def _read(self, folder: str) -> Listing:
        place = self._root / folder
        if not self._is_inside(place):
            return Listing(problem=str(Kind.OUTSIDE))
        try:
            with os.scandir(place) as found:
                kinds = {entry.name: self._kind(entry) for entry in found if not is_junk(entry.name)}
        except FileNotFoundError:
            return Listing()
        except OSError as error:
            return Listing(problem=f"cannot be listed: {error.strerror}")
        return Listing({name: kinds[name] for name in sorted(kinds, key=natural_key)})

    def _kind(self, entry: os.DirEntry[str]) -> Kind:
        linked = entry.is_symlink()
        if linked and not self._is_inside(Path(entry.path)):
            return Kind.OUTSIDE
        try:
            if entry.is_dir():
                return Kind.LINKED_FOLDER if linked else Kind.FOLDER
            if entry.is_file():
                return Kind.FILE
        except OSError:  # a cycle of links, or a target in an unreadable folder
            return Kind.DANGLING
        return Kind.DANGLING if linked and not Path(entry.path).exists() else Kind.OTHER

    def _is_inside(self, place: Path) -> bool:
        real = os.path.realpath(place)
        return any(real == base or real.startswith(f"{base.rstrip('/')}/") for base in self._bases)


def join(folder: str, name: str) -> str:
    """A POSIX path; the root is the empty string."""
    return f"{folder}/{name}" if folder else name
