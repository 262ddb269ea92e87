"""Paths of an experiment file made absolute, so that its frozen copy means the same from any folder and node."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from hashlib import blake2b
from pathlib import Path

from carcls.catalog import POLICY_FILE_SUFFIXES
from carcls.system.home import home_folder
from search.experiment.domain_syntax import DOMAIN_KEYS
from search.experiment.yaml_source import KeyPath, Plain, walk

WEIGHT_WORDS = ("imagenet", "none", "sample")
"""What `weights` may be beside a path."""
WEIGHT_SUFFIXES = (".h5", ".npz")

_DIGEST_BYTES = 8
_COPY = re.compile(rf".*-[0-9a-f]{{{2 * _DIGEST_BYTES}}}\.[a-z]+")
"""Name of a copy, see `copy_name`."""

_FOLDERS_READ: tuple[KeyPath, ...] = (("data", "root"), ("data", "test"))
_FILES_READ: tuple[KeyPath, ...] = (("data", "labels"), ("data", "sample"))
_PATHS: tuple[KeyPath, ...] = (*_FOLDERS_READ, *_FILES_READ, ("results",), ("store", "root"))


def make_absolute(tree: dict[str, Plain], folder: Path) -> None:
    """Replace every relative path in the tree, in place, by the path from `folder`."""
    for place, value in list(_paths(tree)):
        put(tree, place, _absolute(value, folder))


def policy_files(tree: dict[str, Plain]) -> Iterator[tuple[KeyPath, str]]:
    """Places that name a user's own augmentation policy, and the path that stands there."""
    for place, value in _paths(tree):
        if place not in _PATHS and value.endswith(POLICY_FILE_SUFFIXES):
            yield place, value


def copy_name(source: Path, content: bytes) -> str:
    """Of a study's copy of a user's file: the same for the same content, another for any other."""
    return f"{source.stem}-{blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()}{source.suffix}"


def at_home(tree: Mapping[str, Plain], policies: Path) -> dict[str, Plain]:
    """An experiment's tree in which each policy that was copied is named by its copy in `policies`, where that is.

    What a study keeps names its copies by where the study was made. A folder that was moved has them still, and by
    their names they are the same: what is to be read is found so, and what is kept stays as it is.
    """
    found = deepcopy(dict(tree))
    for place, path in list(policy_files(found)):
        copy = policies / Path(path).name
        if _COPY.fullmatch(copy.name) and copy.is_file():
            put(found, place, str(copy))
    return found


def put(tree: dict[str, Plain], place: KeyPath, value: str) -> None:
    """Write a value over what stands at a place of the tree."""
    parent: Plain = tree
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value


def missing_files(tree: dict[str, Plain]) -> Iterator[tuple[KeyPath, str]]:
    """Places whose photos, labels, weights or policies are not on this machine, and what to say of them."""
    for place, value in _paths(tree):
        if place in _FOLDERS_READ and not Path(value).is_dir():
            yield place, f"no such folder: {value}"
        if (place in _FILES_READ or _is_file_of_training(place, value)) and not Path(value).is_file():
            yield place, f"no such file: {value}"


def _paths(tree: dict[str, Plain]) -> Iterator[tuple[KeyPath, str]]:
    for place, value in walk(tree):
        if isinstance(value, str) and value and (place in _PATHS or _is_file_of_training(place, value)):
            yield place, value


def _is_file_of_training(path: KeyPath, value: str) -> bool:
    """True for weights and augmentation policies that are files, wherever a training is told of."""
    keys = [key for key in path if isinstance(key, str) and key not in DOMAIN_KEYS]
    if not keys or keys[0] not in {"train", "retrain", "search"}:
        return False
    if keys[-1] == "policy" and "augment" in keys:
        return value.endswith(POLICY_FILE_SUFFIXES)
    return keys[-1] == "weights" and value.endswith(WEIGHT_SUFFIXES)


def _absolute(path: str, folder: Path) -> str:
    expanded = home_folder() / path[2:] if path.startswith("~/") else Path(path)
    return str(folder / expanded)  # `..` stays: taking it out by text would be wrong behind a symbolic link
