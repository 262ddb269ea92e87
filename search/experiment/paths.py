"""Paths of an experiment file made absolute, so that its frozen copy means the same from any folder and node."""

from collections.abc import Iterator
from pathlib import Path

from search.experiment.domains import DOMAIN_KEYS
from search.experiment.yaml_source import KeyPath, Plain, walk

WEIGHT_WORDS = ("imagenet", "none", "sample")
"""What `weights` may be beside a path."""
WEIGHT_SUFFIXES = (".h5", ".npz")

_PATHS: tuple[KeyPath, ...] = (("data", "root"), ("results",), ("store", "root"))


def make_absolute(tree: dict[str, Plain], folder: Path) -> None:
    """Replace every relative path in the tree, in place, by the path from `folder`."""
    for path in list(_path_keys(tree)):
        parent: Plain = tree
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = _absolute(parent[path[-1]], folder)


def _path_keys(tree: dict[str, Plain]) -> Iterator[KeyPath]:
    for path, value in walk(tree):
        if (
            isinstance(value, str)
            and value
            and (path in _PATHS or (_is_weights(path) and value.endswith(WEIGHT_SUFFIXES)))
        ):
            yield path


def _is_weights(path: KeyPath) -> bool:
    keys = [key for key in path if isinstance(key, str) and key not in DOMAIN_KEYS]
    return bool(keys) and keys[0] in {"train", "retrain", "search"} and keys[-1] == "weights"


def _absolute(path: str, folder: Path) -> str:
    expanded = Path.home() / path[2:] if path.startswith("~/") else Path(path)
    return str(folder / expanded)  # `..` stays: taking it out by text would be wrong behind a symbolic link
