"""`--set path=value` replaces one value of the tree before anything is checked.

Paths are dotted. A stage is given by name or position and an option of a choice by name, so that parameter names
(`train.stages.head.learning_rate`) are valid paths.
"""

from collections.abc import Sequence

from carcls.catalog import nearest_name
from search.errors import ExperimentError
from search.experiment.database_url import without_passwords
from search.experiment.file.yaml_source import (
    MAX_BYTES,
    KeyPath,
    Plain,
    Position,
    Source,
    child,
    describe,
    file_error,
    parse_value,
)

_AFTER_THE_FILE = MAX_BYTES + 1


def apply_overrides(source: Source, overrides: Sequence[str]) -> tuple[KeyPath, ...]:
    """Applies each `path=value` to the tree, in order and in place; returns the paths that were set.

    A path may end in new keys, which the schema checks later. Raises ExperimentError if a path leads through a plain
    value or to a missing list item, or if a value is not YAML.
    """
    return tuple(
        _override(source, override, Position(_AFTER_THE_FILE + number, f"--set {without_passwords(override)}"))
        for number, override in enumerate(overrides)
    )


def _override(source: Source, override: str, position: Position) -> KeyPath:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise file_error(position.text, dotted or "--set", "expected path=value, such as search.trials=8")
    try:
        value = parse_value(text, position.text)
    except ExperimentError as error:
        raise file_error(position.text, dotted, error.problems[0].message) from error
    path = _locate(source.tree, dotted.strip().split("."), position.text)
    _put(source.tree, path, value)
    for known in [known for known in source.positions if known[: len(path)] == path]:
        del source.positions[known]
    for length in range(1, len(path)):
        source.positions.setdefault(path[:length], position)  # a section that this override made
    source.positions[path] = position
    return path


def _locate(tree: Plain, segments: list[str], where: str) -> KeyPath:
    """The key path of a dotted path. Its last keys may be new, but a list item must exist."""
    path: KeyPath = ()
    node = tree
    for number, segment in enumerate(segments):
        step = _step(node, segment)
        if step is None:
            raise file_error(where, ".".join(segments), _no_such_item(node, segments[:number], segment))
        path += step
        for key in step:
            node = child(node, key)
    return path


def _step(node: Plain, segment: str) -> KeyPath | None:
    """One dotted segment as keys: a key, a list position, a stage's name, or an option of a choice."""
    if isinstance(node, dict):
        options = node.get("choice")
        if segment not in node and isinstance(options, dict) and segment in options:
            return ("choice", segment)
        return (segment,)
    if isinstance(node, list):
        names = [item.get("name") if isinstance(item, dict) else None for item in node]
        if segment in names:
            return (names.index(segment),)
        return (int(segment),) if segment.isdecimal() and int(segment) < len(node) else None
    return (segment,) if node is None else None


def _no_such_item(node: Plain, parents: list[str], segment: str) -> str:
    parent = ".".join(parents)
    if not isinstance(node, list):
        return f"`{parent}` is {describe(node)}, not a section; set `{parent}` itself"
    names = tuple(item["name"] for item in node if isinstance(item, dict) and isinstance(item.get("name"), str))
    near = nearest_name(segment, names)
    expected = f"did you mean {near!r}?" if near else f"expected {', '.join((*names, f'0..{len(node) - 1}'))}"
    return f"`{parent}` has no item {segment!r}; {expected}"


def _put(tree: Plain, path: KeyPath, value: Plain) -> None:
    """Sets the value at a path, through sections that are made where the file has none or an empty one."""
    node = tree
    for key in path[:-1]:
        if child(node, key) is None:
            node[key] = {}
        node = node[key]
    node[path[-1]] = value
