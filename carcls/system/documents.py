"""Parses YAML 1.2 and JSON into plain values and their positions. All files that users write are read here.

In YAML 1.2 `1e-4` is a number, `no` a string and `011` eleven. Accepted are mappings with unique string keys, lists,
strings, finite numbers, true, false and null. Tags, merge keys and more than `MAX_NODES` values are rejected.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from carcls.errors import DocumentError

KeyPath = tuple[str | int, ...]
"""Path of a value in the tree: keys and list indices from the root."""

Plain: TypeAlias = Any
"""int, float, str, bool, None, or a list or dict of these. Any, since a recursive alias would need casts everywhere."""

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 30

_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = {_TAG + kind for kind in ("str", "timestamp", "value")}
_WORDS: dict[str, bool | None] = {"null": None, "~": None, "": None, "true": True, "false": False}
_BASES = {"0x": 16, "0o": 8, "0b": 2}


@dataclass(frozen=True, slots=True)
class Position:
    """Where the user wrote a key. Sorts in reading order, overrides last."""

    order: int
    text: str
    """`file:line`, or `--set path=value`."""


def parse_yaml(text: str, file: str) -> tuple[Plain, dict[KeyPath, Position]]:
    """The value of a YAML text and the position of every key. `file` is the name shown in positions.

    Raises DocumentError with line and key.
    """
    reader = _Reader(file)
    return reader.read(text), reader.positions


def parse_json(text: str, file: str) -> Plain:
    """The value of a JSON text, under the same rules. Raises DocumentError."""
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_not_finite, parse_float=_finite)
        for count, (path, _) in enumerate(walk(value), start=1):
            if count > MAX_NODES or len(path) > MAX_DEPTH:
                raise ValueError(f"more than {MAX_NODES} values, or nested too deeply: over {MAX_DEPTH} levels")
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DocumentError(f"{file}:{line}", "JSON", f"cannot be read: {error}") from error
    return value


def describe(value: object) -> str:
    """A value as error messages show it: as the user wrote it, truncated if long."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."  # a hostile file must not flood the terminal


def walk(tree: Plain, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Plain]]:
    """Every value of a tree with its path, parents before children, in file order."""
    yield path, tree
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from walk(value, (*path, key))


def _once(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
    result: dict[str, Plain] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {describe(key)} is written twice in one mapping; keep one")
        result[key] = value
    return result


def _not_finite(word: str) -> NoReturn:
    raise ValueError(f"{word} is not allowed here; expected a finite number")


def _finite(text: str) -> float:
    number = float(text)
    return number if number - number == 0.0 else _not_finite(text)


class _Reader:
    """Builds the plain tree from the composed nodes of one document. Aliases are expanded at each use."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.positions: dict[KeyPath, Position] = {}
        self._nodes = 0

    def read(self, text: str) -> Plain:
        """The document's value. Raises DocumentError with the line."""
        try:
            root = YAML(typ="safe", pure=True).compose(text)
        except MarkedYAMLError as error:
            raise self._syntax_error(error) from error
        except RecursionError as error:
            raise DocumentError(f"{self.file}:1", "YAML", "is nested too deeply") from error
        except (YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            # ruamel raises errors other than its own for some broken texts
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DocumentError(f"{self.file}:1", "YAML", f"cannot be read: {reason}") from error
        return None if root is None else self._value(root, ())

    def _syntax_error(self, error: MarkedYAMLError) -> DocumentError:
        mark = error.problem_mark or error.context_mark
        message = error.problem or error.context or "not YAML"
        if "\\t" in message:
            message += "; indent with spaces, not tabs"
        return DocumentError(f"{self.file}:{mark.line + 1 if mark else 1}", "YAML", f"cannot be read: {message}")

    def _refuse(self, node: Node, path: KeyPath, message: str) -> DocumentError:
        key = ".".join(str(part) for part in path) or "file"
        return DocumentError(f"{self.file}:{node.start_mark.line + 1}", key, message)

    def _value(self, node: Node, path: KeyPath) -> Plain:
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise self._refuse(node, path[:3], f"expands to more than {MAX_NODES} values or {MAX_DEPTH} levels")
        line = node.start_mark.line + 1
        self.positions.setdefault(path, Position(line, f"{self.file}:{line}"))
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        raise self._refuse(node, path, f"has the tag {node.tag}; expected a plain value")

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Plain]:
        result: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key in result:
                first = self.positions[(*path, key)].text
                raise self._refuse(key_node, (*path, key), f"is written twice, first at {first}; keep one")
            line = key_node.start_mark.line + 1
            self.positions[(*path, key)] = Position(line, f"{self.file}:{line}")
            result[key] = self._value(value_node, (*path, key))
        return result

    def _key(self, node: Node, path: KeyPath) -> str:
        if isinstance(node, ScalarNode) and node.tag == _TAG + "merge":
            raise self._refuse(node, path, "merge keys (<<) are not supported; write the keys out")
        if not isinstance(node, ScalarNode):
            raise self._refuse(node, path, "expected a name as key, found a list or mapping")
        return self._text(node, path)

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Plain:
        if node.tag in _TEXT_TAGS:
            return self._text(node, path)
        try:
            return _plain_scalar(str(node.tag).removeprefix(_TAG), node.value)
        except (ValueError, KeyError, OverflowError) as error:
            found = describe(node.value)
            message = f"{found} is not allowed here; expected text, a finite number, true, false or null"
            raise self._refuse(node, path, message) from error

    def _text(self, node: ScalarNode, path: KeyPath) -> str:
        try:
            node.value.encode("utf-8")
        except UnicodeEncodeError as error:  # "\ud800": a lone surrogate, which JSON and file systems reject
            raise self._refuse(node, path, "holds text that is not valid Unicode") from error
        return str(node.value)


def _plain_scalar(kind: str, text: str) -> int | float | bool | None:
    if kind in {"null", "bool"}:
        return _WORDS[text.lower()]
    if kind == "int":
        return int(text, _BASES.get(text.lstrip("+-")[:2].lower(), 10))
    if kind == "float":
        number = float(text)
        if number - number != 0.0:
            raise ValueError("infinite or not a number")
        return number
    raise ValueError(f"unknown tag {kind}")
