"""Reads an experiment file into a plain tree with the position of every key, and writes it back.

Only this module handles YAML. It accepts the same YAML as `carcls.system.documents` does in other user files.
"""

from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from carcls.errors import DocumentError
from carcls.system.documents import MAX_BYTES, KeyPath, Plain, Position, describe, parse_yaml, walk
from search.errors import ExperimentError, Problem

__all__ = ["MAX_BYTES", "KeyPath", "Plain", "Position", "Source", "child", "describe", "dump", "walk"]

_TEXT_TAG = "tag:yaml.org,2002:str"


@dataclass(frozen=True)
class Source:
    """A tree of plain values with the position of each key in the file."""

    file: str
    tree: dict[str, Plain]
    positions: dict[KeyPath, Position] = field(default_factory=dict)

    def where(self, path: KeyPath) -> Position:
        """The position of a key, or of the nearest enclosing section with a position."""
        for length in range(len(path), -1, -1):
            position = self.positions.get(path[:length])
            if position is not None:
                return position
        return Position(1, f"{self.file}:1")


def read_source(file: Path) -> Source:
    """Reads an experiment file.

    Raises ExperimentError naming file and line if the text is not one plain YAML mapping.
    """
    return parse_source(_read_text(file), str(file))


def parse_source(text: str, file: str) -> Source:
    """The tree and positions of YAML text. file: the file name in positions."""
    tree, positions = _parsed(text, file)
    if not isinstance(tree, dict):
        raise file_error(f"{file}:1", "file", f"expected a mapping of sections, found {describe(tree)}")
    return Source(file, tree, positions)


def parse_value(text: str, where: str) -> Plain:
    """The plain value of YAML text from outside a file. where: named in errors."""
    return _parsed(text, where)[0]


def _parsed(text: str, file: str) -> tuple[Plain, dict[KeyPath, Position]]:
    try:
        return parse_yaml(text, file)
    except DocumentError as error:
        raise file_error(error.where, error.key, error.message) from error


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
    """An error with a single problem that ends reading at once."""
    return ExperimentError((Problem(where, key, message),))


def child(node: Plain, key: str | int) -> Plain:
    """The value under one key or list position, or None."""
    if isinstance(node, dict):
        return node.get(str(key))
    if isinstance(node, list) and isinstance(key, int) and key < len(node):
        return node[key]
    return None


class _Representer(SafeRepresenter):
    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_str(self, data: str) -> ScalarNode:
        """Quotes unprintable text, in which a reader might see the end of a line."""
        style = None if data.isprintable() else '"'
        return self.represent_scalar(_TEXT_TAG, data, style=style)


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
