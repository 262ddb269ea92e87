"""Reads the file's `train` tree into a Space: finds domains, names parameters, and reports invalid ones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from search.experiment.file.domain_syntax import DOMAIN_KEYS, DomainError, read_domain
from search.experiment.file.problems import Problems
from search.experiment.file.yaml_source import KeyPath, Plain, Source
from search.experiment.space import Parameter, Space, Template

_NAME = re.compile(r"[A-Za-z0-9_-]+")
Under = tuple[tuple[str, str], ...]


def read_space(source: Source, problems: Problems) -> Space:
    """The space of a source's `train` section. An invalid domain is reported and replaced by null."""
    reader = _TemplateReader(source, problems)
    raw = source.tree.get("train")
    space = Space(reader.mapping(raw if isinstance(raw, dict) else {}, _Place(("train",), ("train",))))
    reader.check_names(space)
    return space


def space_of(train: Mapping[str, Plain]) -> Space:
    """The space of a `train` tree given as plain values. Raises ExperimentError."""
    source = Source("train", {"train": dict(train)})
    problems = Problems(source)
    space = read_space(source, problems)
    problems.raise_any()
    return space


def is_domain(raw: object) -> bool:
    """True if the value is meant as a domain, valid or not."""
    return isinstance(raw, dict) and any(key in raw for key in DOMAIN_KEYS)


@dataclass(frozen=True, slots=True)
class _Place:
    """The reader's position: key path, name, and enclosing options."""

    path: KeyPath
    name: tuple[str, ...]
    under: Under = field(default=())

    def child(self, key: str | int, label: str | None = None) -> "_Place":
        return _Place((*self.path, key), (*self.name, label or str(key)), self.under)

    def branch(self, option: str) -> "_Place":
        under = (*self.under, (".".join(self.name), option))
        return _Place((*self.path, "choice", option), (*self.name, option), under)


class _TemplateReader:
    def __init__(self, source: Source, problems: Problems) -> None:
        self._source = source
        self._problems = problems

    def mapping(self, raw: Mapping[str, Plain], place: _Place) -> dict[str, Template]:
        template = {key: self._node(value, place.child(key)) for key, value in raw.items()}
        self._check_merge(template, place)
        return template

    def _node(self, raw: Plain, place: _Place) -> Template:
        if is_domain(raw):
            return self._domain(raw, place)
        if isinstance(raw, dict):
            return self.mapping(raw, place)
        if isinstance(raw, list):
            return self._items(raw, place)
        return raw

    def _items(self, raw: list[Plain], place: _Place) -> Template:
        items: list[Template] = []
        for number, item in enumerate(raw):
            if is_domain(item):
                message = "a list item cannot be a domain; put a choice of named mappings at the list's own key"
                self._problems.add((*place.path, number), message)
                items.append(None)
            else:
                items.append(self._node(item, place.child(number, _label(item, number))))
        return items

    def _domain(self, raw: dict[str, Plain], place: _Place) -> Template:
        try:
            domain = read_domain(raw)
        except DomainError as error:
            self._problems.add(place.path, str(error), broken=True)
            return None
        choice = raw.get("choice")
        branches = self._branches(choice, place) if isinstance(choice, dict) else {}
        where = self._source.where(place.path).text
        return Parameter(".".join(place.name), domain, place.path, where, branches, place.under)

    def _branches(self, options: dict[str, Plain], place: _Place) -> dict[str, dict[str, Template]]:
        branches: dict[str, dict[str, Template]] = {}
        for option, body in options.items():
            inside = place.branch(option)
            if not _NAME.fullmatch(option):
                message = f"an option's name may hold letters, digits, _ and -; found {option!r}"
                self._problems.add(inside.path, message)
            usable = isinstance(body, dict) and not is_domain(body)
            if not usable:
                message = f"the option needs a mapping of the keys that replace `{place.path[-1]}`"
                self._problems.add(inside.path, message, broken=True)
            branches[option] = self.mapping(body if usable else {}, inside)
        return branches

    def _check_merge(self, template: Mapping[str, Template], place: _Place) -> None:
        """Reports keys of an option that its choice's parent also sets."""
        for key, node in template.items():
            if not isinstance(node, Parameter):
                continue
            taken = {name for other, value in template.items() if other != key for name in _brings(other, value)}
            for option, branch in node.branches.items():
                for inner, child in branch.items():
                    for name in sorted(_brings(inner, child) & taken):
                        message = f"option `{option}` sets `{name}`, which is already set beside `{key}`; keep one"
                        self._problems.add((*place.path, key, "choice", option, inner), message)

    def check_names(self, space: Space) -> None:
        seen: dict[str, Parameter] = {}
        for parameter in space.parameters:
            if parameter.name in seen:
                message = f"two parameters have the name {parameter.name}; give stages and options distinct names"
                self._problems.add(parameter.source, message)
            seen[parameter.name] = parameter


def _brings(key: str, node: Template) -> set[str]:
    """The keys that a node contributes to its parent: its own, or those of its options."""
    if not isinstance(node, Parameter) or not node.branches:
        return {key}
    return {
        name for branch in node.branches.values() for inner, child in branch.items() for name in _brings(inner, child)
    }


def _label(item: Plain, number: int) -> str:
    """A list item's label in parameter names: a stage's name, else its number."""
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) and _NAME.fullmatch(name) else str(number)
