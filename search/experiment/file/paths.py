"""Paths in an experiment file: made absolute, so that the frozen copy works from any folder and node."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import TypeGuard

from carcls.catalog import HUB_BACKBONES, HUB_INSTALL, POLICY_FILE_SUFFIXES
from carcls.system.home import home_folder
from search.experiment.file.domain_syntax import DOMAIN_KEYS
from search.experiment.file.yaml_source import KeyPath, Plain, walk

WEIGHT_WORDS = ("imagenet", "none", "sample")
"""Values of `weights` that are no paths."""
WEIGHT_SUFFIXES = (".h5", ".npz")

_DIGEST_BYTES = 8
_COPY = re.compile(rf".*-[0-9a-f]{{{2 * _DIGEST_BYTES}}}\.[a-z]+")
"""The names that `copy_name` makes."""

_PHOTOS: tuple[KeyPath, ...] = (("data", "root"), ("data", "extra"))
"""What each node copies from a URL."""
_URLS = (*_PHOTOS, ("results",))
URL_SCHEMES = "s3://, gs://, abfs://, abfss:// or file://"
_URL = re.compile(r"(s3|gs|abfss?|file)://.")
"""What `carcls.dataset.object_storage` reads."""
_ANY_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CREDENTIALS = re.compile(r"://[^/?]*:[^/?]*@|[?&][^=&]*(key|secret|token|password|sas)[^=&]*=", re.IGNORECASE)
_FOLDERS_READ: tuple[KeyPath, ...] = (("data", "root"), ("data", "test"), ("data", "extra"))
_FILES_READ: tuple[KeyPath, ...] = (("data", "labels"), ("data", "sample"), ("data", "exclude"))
_PATHS: tuple[KeyPath, ...] = (*_FOLDERS_READ, *_FILES_READ, ("results",), ("store", "root"))


def is_url(value: object) -> TypeGuard[str]:
    """True for `data.root`, `data.extra` or `results` in object storage. Pure."""
    return isinstance(value, str) and bool(_URL.match(value))


def path_problems(tree: dict[str, Plain]) -> Iterator[tuple[KeyPath, str]]:
    """Key paths with an empty text, or with a URL that cannot be used there, each with a message. Pure.

    Messages do not repeat credentials.
    """
    for place, value in walk(tree):
        if value == "" and place in _PATHS:  # pathlib would read the current folder
            yield place, "expected a path, found an empty text"
    yield from _url_problems(tree)


def _url_problems(tree: dict[str, Plain]) -> Iterator[tuple[KeyPath, str]]:
    for place, value in _paths(tree):
        if not _ANY_URL.match(value):
            continue
        if place not in _URLS:
            yield place, "expected a path, found a URL: only data.root, data.extra and results may be one"
        elif not is_url(value):
            yield place, f"expected a path or a URL of {URL_SCHEMES}, found {value.partition('://')[0]}://"
        elif _CREDENTIALS.search(value):
            yield (
                place,
                "the URL holds credentials, which the study would keep in its files: take them out. They are read from"
                " the environment, the provider's own configuration files and the machine's role",
            )


def make_absolute(tree: dict[str, Plain], folder: Path) -> None:
    """Replaces every relative path in the tree, in place, by one below `folder`. URLs stay as they are."""
    for place, value in list(_paths(tree)):
        if not _ANY_URL.match(value):
            put(tree, place, _absolute(value, folder))


def policy_files(tree: dict[str, Plain]) -> Iterator[tuple[KeyPath, str]]:
    """Key paths that name an augmentation policy file, each with the file's path."""
    for place, value in _paths(tree):
        if place not in _PATHS and value.endswith(POLICY_FILE_SUFFIXES):
            yield place, value


def copy_name(source: Path, content: bytes) -> str:
    """Name of a study's copy of a user's file; it contains a hash of the content. That of such a copy is its own."""
    mark = f"-{blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()}"
    return source.name if source.stem.endswith(mark) else f"{source.stem}{mark}{source.suffix}"


def with_local_policies(tree: Mapping[str, Plain], policies: Path) -> dict[str, Plain]:
    """The tree with the paths of copied policies replaced by the copies in `policies`, if they exist there.

    A study records its copies by absolute path. After the study was moved, their names still identify them. The
    recorded tree stays unchanged.
    """
    found = deepcopy(dict(tree))
    for place, path in list(policy_files(found)):
        copy = policies / Path(path).name
        if _COPY.fullmatch(copy.name) and copy.is_file():
            put(found, place, str(copy))
    return found


def put(tree: dict[str, Plain], place: KeyPath, value: str) -> None:
    """Replaces the value at a key path of the tree, in place."""
    parent: Plain = tree
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value


def missing_files(tree: dict[str, Plain]) -> Iterator[tuple[KeyPath, str]]:
    """Key paths whose photos, labels, weights, policies or libraries this machine lacks, each with a message."""
    has_hub = find_spec("keras_hub") is not None
    for place, value in walk(tree):
        if not has_hub and isinstance(value, str) and value in HUB_BACKBONES and _key_of_training(place) == "backbone":
            yield place, f"{value} is a backbone of KerasHub, which is not installed: {HUB_INSTALL}"
    for place, value in _paths(tree):
        if place in _PHOTOS and is_url(value):
            continue
        if place in _FOLDERS_READ and not Path(value).is_dir():
            yield place, f"no such folder: {value}"
        if (place in _FILES_READ or _is_file_of_training(place, value)) and not Path(value).is_file():
            yield place, f"no such file: {value}"


def _paths(tree: dict[str, Plain]) -> Iterator[tuple[KeyPath, str]]:
    for place, value in walk(tree):
        if isinstance(value, str) and value and (place in _PATHS or _is_file_of_training(place, value)):
            yield place, value


def _is_file_of_training(path: KeyPath, value: str) -> bool:
    """True for weights and augmentation policies given as files, in any section that describes a training run."""
    key = _key_of_training(path)
    if key == "policy" and "augment" in path:
        return value.endswith(POLICY_FILE_SUFFIXES)
    return key == "weights" and value.endswith(WEIGHT_SUFFIXES)


def _key_of_training(path: KeyPath) -> str | None:
    """The key that a value belongs to, in a section that describes a training run; else None."""
    keys = [key for key in path if isinstance(key, str) and key not in DOMAIN_KEYS]
    return keys[-1] if keys and keys[0] in {"train", "retrain", "search"} else None


def _absolute(path: str, folder: Path) -> str:
    expanded = home_folder() / path[2:] if path.startswith("~/") else Path(path)
    return str(folder / expanded)  # `..` is kept: removing it from the text would be wrong after a symbolic link
