"""Applies a tree of changes to a tree of values, as `retrain` changes a configuration. Pure."""

from collections.abc import Mapping

from search.experiment.file.yaml_source import KeyPath, Plain, walk
from search.experiment.space import Resolved


def overlay(base: Mapping[str, Plain], changes: Mapping[str, Plain], source: KeyPath) -> Resolved:
    """`base` with `changes` applied: mappings merge, everything else is replaced.

    A mapping over a list of stages changes each stage that it names; unknown names are ignored. source: path of the
    changes in the file, recorded for each changed value.
    """
    sources: dict[KeyPath, KeyPath] = {}
    return Resolved(_merge(dict(base), changes, (), source, sources), sources)


def _merge(base: Plain, changes: Plain, bound: KeyPath, source: KeyPath, sources: dict[KeyPath, KeyPath]) -> Plain:
    if isinstance(base, dict) and isinstance(changes, Mapping):
        merged = dict(base)
        for key, change in changes.items():
            merged[key] = _merge(base.get(key), change, (*bound, key), (*source, key), sources)
        return merged
    if isinstance(base, list) and all(isinstance(item, dict) for item in base) and isinstance(changes, Mapping):
        return [
            _merge(stage, changes[stage["name"]], (*bound, number), (*source, stage["name"]), sources)
            if stage.get("name") in changes
            else stage
            for number, stage in enumerate(base)
        ]
    sources |= {(*bound, *inner): (*source, *inner) for inner, _ in walk(changes)}
    return changes
