"""Folders that are parts of a split, such as `cars/train` and `cars/test`, where classes are expected. Pure."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PARTS = {
    **dict.fromkeys(("train", "training", "trainset", "traindata"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "validset"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "testdata"), "test"),
}
"""Word in a folder's name -> the name that carsearch reads for this part."""
_CONTENTS = frozenset(("set", "data", "dataset", "images", "imgs", "photos", "pictures"))
"""Words after a part's name that add nothing, as in `training_set`."""
VALIDATION_FOLDERS = ("val", "valid", "validation")
"""Beside `train`: photos to validate."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W_A-Za-z]+")


@dataclass(frozen=True, slots=True)
class _PartName:
    """A folder's name that has the word of a part, such as `Road Train`, `cars_train` or `Train`."""

    part: str
    """`train`, `val` or `test`."""
    around: tuple[str, str] = ("", "")
    """The words before and after it; empty if the whole name says nothing but the part."""

    def matches(self, other: "_PartName | None") -> bool:
        """Whether they name two parts of one whole, such as `cars_train` and `cars_test`."""
        return other is not None and other.part != self.part and other.around == self.around


def split_folders(classes: Iterable[str]) -> tuple[str, ...]:
    """The folders among class folders and their parents that are parts of a split, in order; usually none.

    classes: paths of class folders. A vehicle may be called `Road Train`: a name with other words counts only beside
    another part with the same words. A class may be called `train`: the last folder of a path counts only beside a last
    folder that is another part.
    """
    paths = [path.split("/") for path in classes]
    beside: dict[str, dict[str, None]] = defaultdict(dict)
    last: dict[str, dict[str, None]] = defaultdict(dict)
    for names in paths:
        last["/".join(names[:-1])][names[-1]] = None
        for depth, name in enumerate(names):
            beside["/".join(names[:depth])][name] = None
    outer: dict[str, None] = {}
    inner: dict[str, None] = {}
    for *parents, name in paths:
        above = "/".join(parents)
        if found := _outermost_part(parents, beside):
            outer[found] = None
        elif _has_other_part(name, last[above]):
            inner["/".join((*parents, name))] = None
    return (*outer, *inner)


def split_advice(root: Path, folders: Iterable[str]) -> str:
    """What to do about `split_folders`, which are relative to `root`: what to rename, and which is the data folder."""
    of_part: dict[str, list[str]] = defaultdict(list)
    for path in folders:
        if named := _part_name(path.rpartition("/")[2]):
            of_part[named.part].append(path)
    parents = {path.rpartition("/")[0] for paths in of_part.values() for path in paths}
    home = parents.pop() if len(parents) == 1 else ""
    renames, moves = [], []
    for part, paths in of_part.items():
        parent, _, name = paths[0].rpartition("/")
        if len(paths) == 1 and parent == home:
            target = name if part == "val" and name in VALIDATION_FOLDERS else part
            renames += [f"{root / paths[0]} to {target}"] if name != target else []
        elif others := [str(root / path) for path in paths if root / path != root / home / part]:
            moves.append(f"what is in {' and '.join(others)} to {root / home / part}")
    steps = [] if "train" in of_part else ["call the folder with the photos to train on train"]
    steps += [f"rename {' and '.join(renames)}"] if renames else []
    steps += [f"move {', and '.join(moves)}"] if moves else []
    steps += [f"set data.root to {root / home}"] if home else []
    what = "parts of a split, not classes" if sum(map(len, of_part.values())) > 1 else "part of a split, not a class"
    return f"{what}: {', then '.join(steps)}"


def _outermost_part(parents: list[str], beside: Mapping[str, Collection[str]]) -> str:
    """The path of the first folder that is a part, or empty. beside: names of the folders in a folder, by its path."""
    for depth, name in enumerate(parents):
        above, named = "/".join(parents[:depth]), _part_name(name)
        if named is not None and (not any(named.around) or _has_other_part(name, beside[above])):
            return "/".join(parents[: depth + 1])
    return ""


def _has_other_part(name: str, beside: Iterable[str]) -> bool:
    named = _part_name(name)
    return named is not None and any(named.matches(_part_name(other)) for other in beside)


def _part_name(name: str) -> _PartName | None:
    """What a folder's name says about a part, by its last such word; None if it has none."""
    words = [word.casefold() for word in _WORD.findall(name)]
    at = max((number for number, word in enumerate(words) if word in _PARTS), default=None)
    if at is None:
        return None
    before, after = words[:at], words[at + 1 :]
    if not before and _CONTENTS.issuperset(after):
        return _PartName(_PARTS[words[at]])
    return _PartName(_PARTS[words[at]], (" ".join(before), " ".join(after)))
