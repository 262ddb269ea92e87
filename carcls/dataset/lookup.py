"""Names in a CSV file -> photos on disk: as written, without their ending, or without their folder."""

from collections import defaultdict
from collections.abc import Collection

from carcls.dataset.names import PHOTO_SUFFIXES, same_text
from carcls.dataset.tree import Kind, Tree, join

_SHOWN = 3


class PhotoLookup:
    """Finds what a row names. Nothing is guessed: a name that fits two photos finds neither."""

    def __init__(
        self,
        tree: Tree,
        *,
        extension: str | None = None,
        below: str | None = None,
        but_for: Collection[str] = (),
    ) -> None:
        """extension: what is added to a name that is no file, such as `.jpg`; None: the one ending that fits.

        below: the folder, with all folders in it, where a name without a folder is looked for; None: nowhere.
        but_for: folders that are left out of that.
        """
        self._tree, self._extension = tree, extension
        self._below, self._but_for = below, but_for
        self._stems: dict[str, dict[str, list[str]]] = {}
        self._named: dict[str, list[str]] | None = None

    def locate(self, path: str, name: str = "") -> tuple[str, str]:
        """The path as it is spelled on disk, and why no photo can be read there, or an empty text.

        path: posix, relative to the tree's root. name: what the row itself says, where it is a name without a folder.
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
        """Photos beside it that are called so, but for their ending."""
        folder, _, name = path.rpartition("/")
        if folder not in self._stems:
            found, reason = self._tree.locate_folder(folder)
            entries = {} if reason else self._tree.listed(found).entries
            stems: dict[str, list[str]] = defaultdict(list)
            for entry, kind in entries.items():
                if kind is Kind.FILE and (stem := _stem(entry)):
                    stems[stem].append(join(found, entry))
            self._stems[folder] = stems
        return self._stems[folder].get(same_text(name), [])

    def _anywhere(self, name: str) -> list[str]:
        if self._named is None:
            self._named = self._index()
        names = (name,) if self._extension is None else (name, name + self._extension)
        return next((found for wanted in names if (found := self._named.get(same_text(wanted)))), [])

    def _index(self) -> dict[str, list[str]]:
        """Photos by name, and by name without its ending."""
        named: dict[str, list[str]] = defaultdict(list)
        for path, kind in self._tree.walk(self._below or ""):
            if kind is Kind.FILE and not any(path.startswith(f"{folder}/") for folder in self._but_for):
                name = path.rpartition("/")[2]
                named[same_text(name)].append(path)
                if (stem := _stem(name)) and self._extension is None:
                    named[stem].append(path)
        return named


def _stem(name: str) -> str:
    """The name without a photo's ending; empty for one that has none."""
    stem, dot, ending = name.rpartition(".")
    return same_text(stem) if dot and f".{ending.lower()}" in PHOTO_SUFFIXES else ""


def _several(paths: list[str]) -> str:
    shown = ", ".join(paths[:_SHOWN]) + (", ..." if len(paths) > _SHOWN else "")
    return f"more than one photo could be meant ({shown}); write its path, or name the ending by data.extension"
