"""`search.baseline`: values for the domains of the default recipe, as a tree like `train`."""

from collections.abc import Mapping

from carcls.catalog import nearest_name
from search.experiment.domains import LogUniform, Uniform, Value
from search.experiment.file.domain_syntax import plain_value
from search.experiment.file.problems import Problems
from search.experiment.file.yaml_source import KeyPath, Plain, describe, walk
from search.experiment.space import Parameter, Space
from search.experiment.template import is_domain

_SECTION: KeyPath = ("search", "baseline")


def read_baseline(tree: Mapping[str, Plain], space: Space, problems: Problems) -> dict[str, Value]:
    """A value for every parameter active in the default recipe: the one in the file, else its domain's default.

    An option of a choice of named mappings is given by its name, or as a mapping from its name to the values inside.
    """
    search = tree.get("search")
    raw = search.get("baseline") if isinstance(search, dict) else None
    leaves = _leaves(raw) if isinstance(raw, dict) else {}
    unused = dict(leaves)

    def choose(parameter: Parameter) -> Value:
        found = _written(parameter, leaves)
        unused.pop(parameter.name, None)
        if found is None:
            return parameter.domain.default()
        value, path = plain_value(found[0]), found[1]
        if isinstance(value, int | float | str | bool | None) and value in parameter.domain:
            return float(value) if isinstance(parameter.domain, Uniform | LogUniform) else value  # type: ignore[arg-type] # a number: it is in the domain
        problems.add(path, f"{describe(value)} is outside {parameter.domain}")
        return parameter.domain.default()

    params = space.collect(choose)
    for name, (_, path) in unused.items():
        problems.add(path, _unused(name, tree, space))
    return params


def drop_fixed_values(tree: dict[str, Plain], fixed: tuple[KeyPath, ...]) -> None:
    """Removes from the baseline, in place, values of domains that `--set` has replaced by fixed values in `train`."""
    search = tree.get("search")
    raw = search.get("baseline") if isinstance(search, dict) else None
    for path in fixed:
        is_inside = path[:1] == ("train",) and len(path) > 1 and _stands(tree, path)
        if is_inside and isinstance(raw, dict) and not is_domain(_at(tree, path)):
            _remove(raw, _names(tree, path)[1:])


def _stands(tree: Plain, path: KeyPath) -> bool:
    """False if a later override replaced a section around the key."""
    for key in path:
        here = isinstance(tree, dict) and key in tree
        if not here and not (isinstance(tree, list) and isinstance(key, int) and key < len(tree)):
            return False
        tree = tree[key]
    return True


def _leaves(raw: dict[str, Plain]) -> dict[str, tuple[Plain, KeyPath]]:
    return {
        ".".join(("train", *map(str, inner))): (value, (*_SECTION, *inner))
        for inner, value in walk(raw)
        if inner and not (isinstance(value, dict) and value) and not any(isinstance(key, int) for key in inner)
    }


def _written(parameter: Parameter, leaves: Mapping[str, tuple[Plain, KeyPath]]) -> tuple[Plain, KeyPath] | None:
    if parameter.name in leaves:
        return leaves[parameter.name]
    for option in parameter.branches:
        for name, (_, path) in leaves.items():
            if name.startswith(f"{parameter.name}.{option}."):
                return option, path
    return None


def _unused(name: str, tree: Mapping[str, Plain], space: Space) -> str:
    if name in space.domains:
        return "exists only with an option that the baseline does not choose"
    node: Plain = tree
    for key in name.split("."):
        node = _named(node, key)
    if node is not None:
        return "is fixed in `train`; a baseline only gives values for domains"
    near = nearest_name(name, tuple(space.domains))
    return "is no parameter of this search" + (f"; did you mean `{near.removeprefix('train.')}`?" if near else "")


def _named(node: Plain, key: str) -> Plain:
    if isinstance(node, list):
        return next((item for item in node if isinstance(item, dict) and item.get("name") == key), None)
    return node.get(key) if isinstance(node, dict) else None


def _at(tree: Plain, path: KeyPath) -> Plain:
    for key in path:
        tree = tree[key]
    return tree


def _names(tree: Plain, path: KeyPath) -> list[str]:
    """A path as written in the baseline: stages by name, without the key `choice`."""
    names: list[str] = []
    for key in path:
        tree = tree[key]
        stage = tree.get("name") if isinstance(key, int) and isinstance(tree, dict) else None
        if key != "choice":
            names.append(str(stage or key))
    return names


def _remove(tree: dict[str, Plain], names: list[str]) -> None:
    """Removes a value, and each section that becomes empty."""
    first, *rest = names
    inner = tree.get(first)
    if rest and isinstance(inner, dict):
        _remove(inner, rest)
    if not rest or inner == {}:
        tree.pop(first, None)
