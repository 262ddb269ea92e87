"""Folders that are parts of a split, such as `cars/train` and `cars/test`, where classes are expected. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_PARTS = {
    **dict.fromkeys(("train", "training", "trainset", "traindata"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "validset"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "testdata"), "test"),
}
"""Word in a folder's name -> the name that carsearch reads for this part."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def split_folders(classes: Iterable[str]) -> tuple[str, ...]:
    """The folders among class folders and their parents that are parts of a split, in order; usually none.

    classes: paths of class folders. A class may be called `train`, as a vehicle: the last folder of a path counts only
    beside one that is another part.
    """
    outer: dict[str, None] = {}
    last: dict[str, dict[str, str]] = defaultdict(dict)
    for path in classes:
        *parents, name = path.split("/")
        depth = next((depth for depth, parent in enumerate(parents, start=1) if _part_of(parent)), 0)
        if depth:
            outer["/".join(parents[:depth])] = None
        elif part := _part_of(name):
            last["/".join(parents)][path] = part
    return (*outer, *(path for parts in last.values() if len(set(parts.values())) > 1 for path in parts))


def split_advice(root: Path, folders: Iterable[str]) -> str:
    """What to do about `split_folders`, which are relative to `root`: what to rename, and which is the data folder."""
    names = [path.rpartition("/")[::2] for path in folders]
    wrong = [f"{root / parent / name} to {part}" for parent, name in names if (part := _part_of(name)) != name]
    steps = [f"rename {' and '.join(wrong)}"] if wrong else []
    steps += [f"set data.root to {root / names[0][0]}"] if names[0][0] else []
    if not any(_part_of(name) == "train" for _, name in names):
        steps = ["call the folder with the photos to train on train", *steps]
    return f"parts of a split, not classes: {', then '.join(steps)}"


def _part_of(name: str) -> str:
    """`train`, `val` or `test` if a word of the name says so, else empty."""
    words = (word.casefold() for word in _WORD.findall(name))
    return next((_PARTS[word] for word in words if word in _PARTS), "")
