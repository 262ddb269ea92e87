"""Labelled photos that lie in a folder per class."""

from collections.abc import Collection

from carcls.data.candidates import Candidates, stray
from carcls.data.layouts import TRAIN_FOLDER, Found, not_classes
from carcls.data.names import may_be_photo, same_text
from carcls.data.rows import Refused, Row, is_plain_name
from carcls.data.tree import Kind, Tree, join

NESTED = "a folder inside a class folder; its photos are not used"


def from_class_folders(found: Found) -> Candidates:
    """Every file in a class folder whose name may be a photo's; the id is its path, the class its folder's name.

    Names that read alike are one class. What else stands there is refused with its reason: never silently passed over,
    but for what systems leave behind.
    """
    rows: list[Row] = []
    refused: list[Refused] = []
    classes: dict[str, str] = {}
    others = not_classes(found.root, found.layout)
    for name, kind in found.tree.listed(found.classes).entries.items():
        path = join(found.classes, name)
        if kind.is_folder and path not in (TRAIN_FOLDER, *others):
            refused += _class_folder(found.tree, path, classes, rows)
        elif not kind.is_folder and (kind is not Kind.FILE or may_be_photo(name)):
            refused.append((stray(path), str(kind) or "in no class folder"))
    if found.classes:
        refused += _beside_train(found.tree, others)
    return Candidates(found.root, tuple(rows), tuple(refused), classes)


def _class_folder(tree: Tree, folder: str, classes: dict[str, str], rows: list[Row]) -> list[Refused]:
    """Adds the folder to `classes` and its files to `rows`; returns what of it is not used."""
    name = folder.rpartition("/")[2]
    class_name = same_text(name)
    if not class_name or not is_plain_name(name) or not _is_utf8(name):
        return [(stray(folder), "a name that cannot be a class; rename the folder")]
    refused: list[Refused] = []
    if class_name in classes:
        refused.append((stray(folder), f"reads like {classes[class_name]}; both are one class"))
    classes.setdefault(class_name, folder)
    listed = tree.listed(folder)
    if listed.problem:
        refused.append((stray(folder), listed.problem))
    for entry, kind in listed.entries.items():
        path = join(folder, entry)
        reason = _why_unusable(entry, kind)
        if reason:
            refused.append((stray(path), reason))
        else:
            rows.append(Row(0, path, class_name, path))
    return refused


def _why_unusable(name: str, kind: Kind) -> str:
    """Empty for a file that may be a photo."""
    if kind.is_folder:
        return NESTED
    if kind is not Kind.FILE:
        return str(kind)
    if not is_plain_name(name):
        return "a name that cannot stand in a table; rename the file"
    return "" if may_be_photo(name) else "by its name no photo"


def _beside_train(tree: Tree, others: Collection[str]) -> list[Refused]:
    """Folders beside `train` that hold folders, such as `val`: somebody may expect their photos to be used."""
    return [
        (stray(name), f"a folder beside {TRAIN_FOLDER}; its photos are not used")
        for name in tree.folders("")
        if name not in (TRAIN_FOLDER, *others) and any(tree.folders(name))
    ]


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in name)
