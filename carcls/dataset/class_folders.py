"""Labelled photos in one folder per class."""

from collections.abc import Iterator

from carcls.dataset.candidates import Candidates, stray_row
from carcls.dataset.csv_rows import Refused, Row, is_plain_name
from carcls.dataset.layouts import TRAIN_FOLDER, DataFolder, prediction_folders
from carcls.dataset.names import is_class_name, normalized_name, normalized_path
from carcls.dataset.tree import Kind, Tree, join

NESTED = "a folder inside a class folder; its photos are not used"
_NESTED_CLASS = f"{NESTED} unless data.nested is true"


def from_class_folders(found: DataFolder) -> Candidates:
    """Every file in a class folder that may be a photo. Its id is its path, its class the folder's name.

    Folder names that differ only in Unicode form or spaces are one class, as are a class's training and validation
    folders. Everything else is rejected with a reason, apart from hidden and system files, which are ignored.
    """
    rows: list[Row] = []
    refused: list[Refused] = []
    classes: dict[str, str] = {}
    for top in (found.classes, found.validation) if found.validation else (found.classes,):
        seen: dict[str, str] = {}
        for folder, name in _folders_of_classes(found, top):
            refused += _class_folder(found, folder, name, seen, rows)
        refused += _loose(found.tree, top)
        classes = {**seen, **classes}
    if found.classes:
        refused += _beside_train(found)
    return Candidates(found.root, tuple(rows), tuple(refused), classes)


def _folders_of_classes(found: DataFolder, top: str) -> Iterator[tuple[str, str]]:
    """Path and class name of each class folder in `top`. Nested classes are named after their path below it."""
    others = (TRAIN_FOLDER, *prediction_folders(found.root, found.layout))
    pending = [join(top, name) for name in found.tree.folders(top) if join(top, name) not in others]
    while pending:
        folder = pending.pop(0)
        if found.is_extra(folder):
            continue
        entries = found.tree.listed(folder).entries if found.layout.nested else {}
        inside = [join(folder, name) for name, kind in entries.items() if kind is Kind.FOLDER]
        if not inside or any(not kind.is_folder for kind in entries.values()):
            yield folder, folder.removeprefix(f"{top}/" if top else "")
        pending[:0] = inside


def _loose(tree: Tree, top: str) -> list[Refused]:
    """Photos next to the class folders instead of inside one."""
    return [
        (stray_row(join(top, name)), str(kind) or "in no class folder")
        for name, kind in tree.listed(top).entries.items()
        if not kind.is_folder and (kind is not Kind.FILE or tree.may_be_photo(join(top, name), kind))
    ]


def _class_folder(found: DataFolder, folder: str, name: str, classes: dict[str, str], rows: list[Row]) -> list[Refused]:
    """Adds the folder to `classes` and its files to `rows`. Returns what is not used."""
    class_name = normalized_path(name)
    if not all(is_class_name(normalized_name(part)) and is_plain_name(part) for part in name.split("/")):
        return [(stray_row(folder), "a name that cannot be a class; rename the folder")]
    refused: list[Refused] = []
    if class_name in classes:
        refused.append((stray_row(folder), f"has the same name as {classes[class_name]}; both are one class"))
    classes.setdefault(class_name, folder)
    listed = found.tree.listed(folder)
    if listed.problem:
        refused.append((stray_row(folder), listed.problem))
    for entry, kind in listed.entries.items():
        path = join(folder, entry)
        reason = _why_unusable(found.tree, path, kind)
        if found.layout.nested and kind is Kind.FOLDER:  # a class of its own
            continue
        if reason:
            refused.append((stray_row(path), reason))
        else:
            rows.append(Row(0, path, class_name, path))
    return refused


def _why_unusable(tree: Tree, path: str, kind: Kind) -> str:
    """Reason why a file is no photo; empty if it may be one."""
    if kind.is_folder:
        return _NESTED_CLASS
    if kind is not Kind.FILE:
        return str(kind)
    if not is_plain_name(path.rpartition("/")[2]):
        return "a name that a CSV file cannot hold; rename the file"
    return "" if tree.may_be_photo(path, kind) else "not a photo by its name or its first bytes"


def _beside_train(found: DataFolder) -> list[Refused]:
    """Folders beside `train` that hold folders, such as `old`. A user may expect their photos to be used."""
    others = (TRAIN_FOLDER, found.validation, *prediction_folders(found.root, found.layout))
    return [
        (stray_row(name), f"a folder beside {TRAIN_FOLDER}; its photos are not used")
        for name in found.tree.folders("")
        if name not in others and not found.is_extra(name) and any(found.tree.folders(name))
    ]
