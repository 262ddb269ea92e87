"""Keys that had another name once: new files must use the new one, stored files are read by either."""

from collections.abc import Mapping

from search.experiment.yaml_source import KeyPath, Plain

RENAMED: Mapping[KeyPath, str] = {("data", "judge"): "holdout"}
"""New name by old path."""


def with_new_names(tree: dict[str, Plain]) -> dict[str, Plain]:
    """A stored file's tree under today's names. Pure; a key that has its new name already stays."""
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
