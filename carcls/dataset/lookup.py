"""Finds the photos that a CSV file names: as written, without their suffix, or without their folder."""

from collections import defaultdict
from collections.abc import Collection

from carcls.dataset.names import PHOTO_SUFFIXES, normalized_name
from carcls.dataset.tree import Kind, Tree, join

_SHOWN = 3


class PhotoLookup:
    """Finds the photo that a row names. A name that matches two photos is ambiguous and finds neither."""

    def __init__(
        self,
        tree: Tree,
        *,
        extension: str | None = None,
        below: str | None = None,
        exclude: Collection[str] = (),
    ) -> None:
        """extension: suffix to add to a name that is no file, such as `.jpg`; None accepts any unambiguous suffix.

        below: folder to search recursively for names without a folder, or None for no search.
        exclude: folders to leave out of that search.
        """
        self._tree, self._extension = tree, extension
        self._below, self._exclude = below, exclude
        self._stems: dict[str, dict[str, list[str]]] = {}
        self._named: dict[str, list[str]] | None = None

    def locate(self, path: str, name: str = "") -> tuple[str, str]:
        """The path as spelled on disk, and the reason why no photo can be read there, or an empty string.

        path: POSIX, relative to the tree's root. name: the row's own text if that is a name without a folder.
        """
        found, reason = self._tree.locate(path)
        if reason != Kind.MISSING:
            return found, reason
        if self._extension is not None:
            longer, reason = self._tree.locate(path + self._extension)
            if reason != Kind.MISSING:
                return longer, reason
        fitting = [] if self._extension is not None else self._with_an_ending(path)
        if not fitting and name and self._below is not None:
            fitting = self._anywhere(name)
        if len(fitting) == 1:
            return self._tree.locate(fitting[0])
        return path, _several(fitting) if fitting else str(Kind.MISSING)

    def _with_an_ending(self, path: str) -> list[str]:
        """Photos in the same folder whose names match except for their suffix."""
        folder, _, name = path.rpartition("/")
        if folder not in self._stems:
            found, reason = self._tree.locate_folder(folder)
            entries = {} if reason else self._tree.listed(found).entries
            stems: dict[str, list[str]] = defaultdict(list)
            for entry, kind in entries.items():
                if kind is Kind.FILE and (stem := _stem(entry)):
                    stems[stem].append(join(found, entry))
            self._stems[folder] = stems
        return self._stems[folder].get(normalized_name(name), [])

    def _anywhere(self, name: str) -> list[str]:
        if self._named is None:
            self._named = self._index()
        names = (name,) if self._extension is None else (name, name + self._extension)
        return next((found for wanted in names if (found := self._named.get(normalized_name(wanted)))), [])

    def _index(self) -> dict[str, list[str]]:
        """Photos by name, and by name without suffix."""
        named: dict[str, list[str]] = defaultdict(list)
        for path, kind in self._tree.walk(self._below or ""):
            if kind is Kind.FILE and not any(path.startswith(f"{folder}/") for folder in self._exclude):
                name = path.rpartition("/")[2]
                named[normalized_name(name)].append(path)
                if (stem := _stem(name)) and self._extension is None:
                    named[stem].append(path)
        return named


def _stem(name: str) -> str:
    """The normalised name without a photo suffix; empty if it has none."""
    stem, dot, ending = name.rpartition(".")
    return normalized_name(stem) if dot and f".{ending.lower()}" in PHOTO_SUFFIXES else ""


def _several(paths: list[str]) -> str:
    shown = ", ".join(paths[:_SHOWN]) + (", ..." if len(paths) > _SHOWN else "")
    return f"matches more than one photo ({shown}); write its path, or set data.extension"
