"""Renamed keys. New files must use the new name; a study's stored file may use either."""

from collections.abc import Mapping

from search.experiment.file.yaml_source import KeyPath, Plain

RENAMED: Mapping[KeyPath, str] = {("data", "judge"): "holdout"}
"""The new name by the old path."""


def with_new_names(tree: dict[str, Plain]) -> dict[str, Plain]:
    """A stored file's tree with the current key names. Pure."""
    for path, new in RENAMED.items():
        tree = _renamed(tree, path, new)
    return tree


def _renamed(tree: dict[str, Plain], path: KeyPath, new: str) -> dict[str, Plain]:
    key, *rest = path
    if key not in tree:
        return tree
    if rest:
        inner = tree[key]
        return {**tree, key: _renamed(inner, tuple(rest), new)} if isinstance(inner, dict) else tree
    return {new if name == key else name: value for name, value in tree.items()}
