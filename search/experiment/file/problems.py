"""Collects the problems of a file, each with line and key, without duplicates and in reading order."""

from dataclasses import dataclass, field

from search.errors import ExperimentError, Problem
from search.experiment.file.domain_syntax import DOMAIN_KEYS
from search.experiment.file.yaml_source import KeyPath, Plain, Source, child


@dataclass
class Problems:
    """The problems found in one source so far."""

    source: Source
    _found: dict[Problem, int] = field(default_factory=dict)
    _broken: set[KeyPath] = field(default_factory=set)

    def add(self, path: KeyPath, message: str, *, broken: bool = False) -> None:
        """Notes a problem at a key path. broken: the value there cannot be checked any further."""
        position = self.source.where(path)
        self._found.setdefault(Problem(position.text, dotted(self.source.tree, path), message), position.order)
        if broken:
            self._broken.add(path)

    @property
    def any_broken(self) -> bool:
        """True if some value cannot be checked any further."""
        return bool(self._broken)

    def is_broken(self, path: KeyPath) -> bool:
        """True if a key path, or a section around it, was noted as broken."""
        return any(path[:length] in self._broken for length in range(len(path) + 1))

    def __len__(self) -> int:
        return len(self._found)

    def raise_any(self) -> None:
        """Raises ExperimentError with all problems in reading order, if any."""
        if self._found:
            raise ExperimentError(tuple(sorted(self._found, key=lambda problem: (self._found[problem], problem.key))))


def dotted(tree: Plain, path: KeyPath) -> str:
    """A key path as users write it: stages by name, without the keywords of domains."""
    parts: list[str] = []
    node, in_domain = tree, False
    for key in path:
        is_word = isinstance(node, dict) and key in DOMAIN_KEYS
        if not is_word and not (in_domain and isinstance(key, int)):
            parts.append(_label(node, key))
        in_domain = is_word
        node = child(node, key)
    return ".".join(parts) or "file"


def _label(node: Plain, key: str | int) -> str:
    item = child(node, key) if isinstance(key, int) else None
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) and name else str(key)
