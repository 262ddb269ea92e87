"""Finds the photos to predict, in the order of a sample submission or of their names."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from carcls.dataset.candidates import Candidates, locate_rows, sorted_by_line, stray_row
from carcls.dataset.csv_rows import CsvFile, Refused, Row, path_rows
from carcls.dataset.layouts import TEST_FOLDERS, Layout, find_test_folder
from carcls.dataset.lookup import PhotoLookup
from carcls.dataset.names import normalized_name
from carcls.dataset.sample_submission import Sample, try_load_sample
from carcls.dataset.tree import Kind, Tree, join


@dataclass(frozen=True, slots=True)
class _TestFolder:
    """The folder of photos to predict."""

    root: Path
    tree: Tree
    name: str
    """Relative to the root; may be empty."""
    called: tuple[str, ...]
    """What an id may begin with beside its path below this folder: the folder's own name, or path."""

    def photos(self) -> list[tuple[str, str]]:
        """(path relative to the root, reason why it is not used or empty) of possible photos, in natural order.

        Includes folders that cannot be listed, and linked folders, which may form a cycle.
        """
        found = [(self.name, self.tree.listed(self.name).problem)] if self.tree.listed(self.name).problem else []
        for path, kind in self.tree.walk(self.name):
            if kind is Kind.FOLDER:
                found.append((path, self.tree.listed(path).problem))
            elif kind is Kind.LINKED_FOLDER:
                found.append((path, "a link to a folder; its photos are not used"))
            elif self.tree.may_be_photo(path, kind):
                found.append((path, str(kind)))
        return found

    def id_of(self, path: str) -> str:
        """A photo's path relative to this folder."""
        return path.removeprefix(f"{self.name}/") if self.name else path


def unlabelled_candidates(root: Path, layout: Layout, sample: Sample | None) -> Candidates:
    """Files to predict: those in the sample, in its order, or all files of the folder in natural order.

    Raises DataError if the folder cannot be used.
    """
    place = find_test_folder(root, layout)
    if place is None and sample is None:
        return Candidates(root, (), (), {})
    if place is None or place.parent == root:
        name = place.name if place else TEST_FOLDERS[0]
        folder = _TestFolder(root, Tree(root, TEST_FOLDERS), name, (name,))
    else:
        path = place.relative_to(root).as_posix() if place.is_relative_to(root) else place.name
        folder = _TestFolder(place, Tree(place), "", (path, place.name))
    return _all_in(folder) if sample is None else _as_listed(folder, sample, layout.extension)


def count_unlabelled(root: Path, layout: Layout) -> int:
    """Number of photos to predict, by their names. A sample that cannot be read counts as none. Raises DataError."""
    sample, _ = try_load_sample(root, layout)
    return len(unlabelled_candidates(root, layout, sample).rows)


def asks_for_submission(root: Path, layout: Layout) -> bool:
    """Whether there is a folder of photos to predict that holds some, or that a sample submission names photos of.

    Also if they cannot be used, for which `submit` gives the reason. Raises DataError if there are two such folders.
    """
    if find_test_folder(root, layout) is None:
        return False
    sample, problem = try_load_sample(root, layout)
    found = unlabelled_candidates(root, layout, None)
    return sample is not None or bool(problem or found.rows or found.refused)


def photos_below(folder: Path) -> tuple[Path, ...]:
    """Every file below a folder that may be a photo by its name or first bytes, in natural order."""
    return tuple(folder / path for path, reason in _below(folder) if not reason)


def unusable_below(folder: Path) -> tuple[tuple[Path, str], ...]:
    """Possible photos below a folder that cannot be read, with a reason: links out of it, unreadable folders."""
    return tuple((folder / path, reason) for path, reason in _below(folder) if reason)


def _below(folder: Path) -> list[tuple[str, str]]:
    return _TestFolder(folder, Tree(folder), "", ()).photos()


def classes_only_in_test(test: Candidates, class_names: Collection[str]) -> list[Refused]:
    """Folders of photos to predict whose names are no class, if at least one other folder is named after a class.

    If none is, the folders do not stand for classes.
    """
    folders = {
        normalized_name(row.id.split("/")[0]): row.path.removesuffix(row.id) for row in test.rows if "/" in row.id
    }
    if not set(folders) & set(class_names):
        return []
    return [
        (
            stray_row(join(place.rstrip("/"), name)),
            "a class without training photos; its photos are predicted as other classes",
        )
        for name, place in folders.items()
        if name not in class_names
    ]


def _all_in(folder: _TestFolder) -> Candidates:
    found = [(Row(0, folder.id_of(path), "", path), reason) for path, reason in folder.photos()]
    rows = tuple(row for row, reason in found if not reason)
    return Candidates(folder.root, rows, tuple(entry for entry in found if entry[1]), {})


def _as_listed(folder: _TestFolder, sample: Sample, extension: str | None) -> Candidates:
    # The submission repeats an id exactly, including surrounding spaces; its photo is found without them.
    written = dict(zip(sample.lines, sample.ids, strict=True))
    table = CsvFile(sample.path, sample.header, tuple((line, [id_, ""]) for line, id_ in written.items()))
    rows, refused = path_rows(table, table.header[:1], folder.name)
    rows = [replace(row, id=written[row.line]) for row in rows]
    refused = [(replace(row, id=written[row.line]), reason) for row, reason in refused]
    lookup = PhotoLookup(folder.tree, extension=extension, below=folder.name)
    there, missing = _located(folder, lookup, rows)
    out = sorted_by_line(refused + missing)
    named = {row.path for row in (*there, *(row for row, _ in out))}
    strays = [
        (Row(0, folder.id_of(path), "", path), reason or f"in no row of {sample.path.name}")
        for path, reason in folder.photos()
        if path not in named
    ]
    return Candidates(folder.root, tuple(there), (*out, *strays), {})


def _located(folder: _TestFolder, lookup: PhotoLookup, rows: Sequence[Row]) -> tuple[list[Row], list[Refused]]:
    """As `locate_rows`. An id that begins with the folder's name, and finds nothing so, is tried without it."""
    there, missing = locate_rows(lookup, rows)
    found = {row.line: row for row in there}
    without_name = []
    for row, _ in missing:
        inside = folder.id_of(row.path)
        rest = next((inside.removeprefix(f"{name}/") for name in folder.called if inside.startswith(f"{name}/")), "")
        if rest:
            without_name.append(replace(row, id=rest, path=join(folder.name, rest)))
    ids = {row.line: row.id for row in rows}
    placed, _ = locate_rows(lookup, without_name)
    found |= {row.line: replace(row, id=ids[row.line]) for row in placed}
    return (
        [found[row.line] for row in rows if row.line in found],
        [entry for entry in missing if entry[0].line not in found],
    )
