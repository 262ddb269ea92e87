"""Applies a tree of changes to a tree of values, as `retrain` changes a configuration. Pure."""

from collections.abc import Iterator, Mapping

from search.experiment.file.yaml_source import KeyPath, Plain, walk
from search.experiment.space import Resolved


def overlay(base: Mapping[str, Plain], changes: Mapping[str, Plain], source: KeyPath) -> Resolved:
    """`base` with `changes` applied: mappings merge, everything else is replaced.

    A mapping over a list of mappings, such as stages, changes each item that it names; unknown names are ignored, see
    `listed_items`. source: path of the changes in the file, recorded for each changed value.
    """
    sources: dict[KeyPath, KeyPath] = {}
    return Resolved(_merge(dict(base), changes, (), source, sources), sources)


def listed_items(base: Plain, changes: Plain, path: KeyPath = ()) -> Iterator[tuple[KeyPath, list[str]]]:
    """Path and names of the items of each list in `base` of which `changes` changes some by name."""
    if isinstance(changes, Mapping) and isinstance(base, dict):
        for key, change in changes.items():
            yield from listed_items(base.get(key), change, (*path, key))
    elif isinstance(changes, Mapping) and _is_list_of_mappings(base):
        yield path, _names(base)


def _merge(base: Plain, changes: Plain, bound: KeyPath, source: KeyPath, sources: dict[KeyPath, KeyPath]) -> Plain:
    if isinstance(base, dict) and isinstance(changes, Mapping):
        merged = dict(base)
        for key, change in changes.items():
            merged[key] = _merge(base.get(key), change, (*bound, key), (*source, key), sources)
        return merged
    if _is_list_of_mappings(base) and isinstance(changes, Mapping):
        return [
            _merge(item, changes[name], (*bound, number), (*source, name), sources) if name in changes else item
            for number, (name, item) in enumerate(zip(_names(base), base, strict=True))
        ]
    sources |= {(*bound, *inner): (*source, *inner) for inner, _ in walk(changes)}
    return changes


def _is_list_of_mappings(value: Plain) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _names(items: list[dict[str, Plain]]) -> list[str]:
    """What changes call the items of a list: stages by name, layers of a head by position."""
    return [str(item.get("name", number)) for number, item in enumerate(items)]
