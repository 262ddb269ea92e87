"""YAML text -> plain tree and the position of every key. Nothing of YAML leaves this room.

The text is YAML 1.2, so `1e-4` is a number and `no` is a word. Only plain values pass: mappings with names as keys,
lists, text, finite numbers, true, false, null. Tags, merge keys and expansions beyond `MAX_NODES` are refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter

from search.errors import ExperimentError, Problem

KeyPath = tuple[str | int, ...]
"""Where a value stands in the tree: keys and list positions from the top."""

Plain: TypeAlias = Any
"""int, float, str, bool, None, or a list or dict of these; a recursive alias would ask for a cast at every step."""

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 30

_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = {_TAG + kind for kind in ("str", "timestamp", "value")}
_WORDS: dict[str, bool | None] = {"null": None, "~": None, "": None, "true": True, "false": False}
_BASES = {"0x": 16, "0o": 8, "0b": 2}


@dataclass(frozen=True, slots=True)
class Position:
    """Where the user wrote a key; sorts in reading order, overrides last."""

    order: int
    text: str
    """`file:line`, or `--set path=value`."""


@dataclass(frozen=True)
class Source:
    """A tree of plain values that knows where each of its keys was written."""

    file: str
    tree: dict[str, Plain]
    positions: dict[KeyPath, Position] = field(default_factory=dict)

    def where(self, path: KeyPath) -> Position:
        """The position of a key, or of the nearest section around it that was written."""
        for length in range(len(path), -1, -1):
            position = self.positions.get(path[:length])
            if position is not None:
                return position
        return Position(1, f"{self.file}:1")


def read_source(file: Path) -> Source:
    """Read an experiment file.

    Raises ExperimentError naming file and line where the text is not one plain YAML mapping.
    """
    return parse_source(_read_text(file), str(file))


def parse_source(text: str, file: str) -> Source:
    """The tree and positions of YAML text; `file` is the name that positions carry."""
    reader = _Reader(file)
    tree = reader.read(text)
    if not isinstance(tree, dict):
        raise file_error(f"{file}:1", "file", f"expected a mapping of sections, found {describe(tree)}")
    return Source(file, tree, reader.positions)


def parse_value(text: str, where: str) -> Plain:
    """The plain value of YAML text that does not stand in a file; `where` is what errors name."""
    return _Reader(where).read(text)


def describe(value: object) -> str:
    """A value as an error message shows it: as it was written, and not too long."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."  # a hostile file must not flood the terminal


def _read_text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise file_error(str(file), "file", f"cannot be read: {reason}; give the path of an experiment file") from error
    except ValueError as error:  # a path with a NUL character
        raise file_error(repr(str(file)), "file", f"cannot be read: {error}") from error
    if len(raw) > MAX_BYTES:
        raise file_error(str(file), "file", f"is longer than {MAX_BYTES} bytes; is it an experiment file?")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise file_error(f"{file}:{line}", "file", f"is not UTF-8 text at byte {error.start}") from error


def file_error(where: str, key: str, message: str) -> ExperimentError:
    """An error with a single problem, for what ends the reading at once."""
    return ExperimentError((Problem(where, key, message),))


class _Reader:
    """Builds the plain tree from the composed nodes of one document, one value per place where an alias stands."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.positions: dict[KeyPath, Position] = {}
        self._nodes = 0

    def read(self, text: str) -> Plain:
        """The document's value. Raises ExperimentError with the line."""
        try:
            root = YAML(typ="safe", pure=True).compose(text)
        except MarkedYAMLError as error:
            raise self._syntax_error(error) from error
        except RecursionError as error:
            raise file_error(f"{self.file}:1", "YAML", "is nested too deeply") from error
        except (YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
            # ruamel answers some broken texts with errors other than its own
            raise file_error(f"{self.file}:1", "YAML", f"cannot be read: {str(error).splitlines()[0]}") from error
        return None if root is None else self._value(root, ())

    def _syntax_error(self, error: MarkedYAMLError) -> ExperimentError:
        mark = error.problem_mark or error.context_mark
        message = error.problem or error.context or "not YAML"
        if "\\t" in message:
            message += "; indent with spaces, not tabs"
        return file_error(f"{self.file}:{mark.line + 1 if mark else 1}", "YAML", f"cannot be read: {message}")

    def _refuse(self, node: Node, path: KeyPath, message: str) -> ExperimentError:
        key = ".".join(str(part) for part in path) or "file"
        return file_error(f"{self.file}:{node.start_mark.line + 1}", key, message)

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
            message = f"{found} cannot stand here; expected text, a finite number, true, false or null"
            raise self._refuse(node, path, message) from error

    def _text(self, node: ScalarNode, path: KeyPath) -> str:
        try:
            node.value.encode("utf-8")
        except UnicodeEncodeError as error:  # "\ud800": half a character, which JSON and file systems refuse
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


def walk(tree: Plain, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Plain]]:
    """Every value of a tree with its path, parents before children, in file order."""
    yield path, tree
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from walk(value, (*path, key))


def child(node: Plain, key: str | int) -> Plain:
    """What stands under one key or list position; None where there is nothing."""
    if isinstance(node, dict):
        return node.get(str(key))
    if isinstance(node, list) and isinstance(key, int) and key < len(node):
        return node[key]
    return None


class _Representer(SafeRepresenter):
    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_str(self, data: str) -> ScalarNode:
        """Escaped where a reader would take a character for the end of a line."""
        style = None if data.isprintable() else '"'
        return self.represent_scalar(_TAG + "str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def dump(tree: dict[str, Plain]) -> str:
    """The tree as YAML 1.2 text that `parse_source` reads back to an equal tree."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 1_000_000  # one value, one line
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # ruamel declares it as None
    yaml.Representer = _Representer
    stream = StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue()
