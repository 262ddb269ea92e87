"""The search space: one training with domains instead of some values. Pure, without files or samplers.

A space is a template: the tree of `train` with a `Parameter` for each domain. All its operations (bind, sample,
suggest) are one walk in file order that calls a `choose` function at each parameter. A choice of named mappings is a
parameter with branches: the keys of the chosen mapping take its place, and parameters inside a branch are active only
if its option is chosen.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias, Union

import numpy as np

from search.experiment.domains import Choice, Domain, TrialLike, Value
from search.experiment.file.yaml_source import KeyPath, Plain

Template: TypeAlias = Union[Value, list["Template"], dict[str, "Template"], "Parameter"]
Choose: TypeAlias = Callable[["Parameter"], Value]


@dataclass(frozen=True)
class Parameter:
    """One searched value."""

    name: str
    """Dotted path with stage names, such as `train.stages.head.learning_rate`. Names of enclosing options follow the
    keys of their choices, as in `train.backbone.small.image_size`."""
    domain: Domain
    source: KeyPath
    """Key path of its domain in the file's tree."""
    where: str = field(default="", compare=False)
    """`file:line`, for error messages."""
    branches: Mapping[str, dict[str, Template]] = field(default_factory=dict)
    """The mapping of each option, for a choice of named mappings; else empty."""
    under: tuple[tuple[str, str], ...] = ()
    """(parameter, option) of each choice that makes this parameter active, outermost first."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A tree without parameters, and the key path in the file of each of its values."""

    tree: dict[str, Plain]
    sources: dict[KeyPath, KeyPath]


@dataclass(frozen=True)
class Space:
    """All configurations that one experiment may train."""

    template: dict[str, Template]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters in file order, including those of every option."""
        return tuple(_parameters(self.template, None))

    @cached_property
    def domains(self) -> Mapping[str, Domain]:
        """Every parameter's domain by name, in file order."""
        return {parameter.name: parameter.domain for parameter in self.parameters}

    def active(self, params: Mapping[str, Value]) -> tuple[str, ...]:
        """Names of the parameters that the options chosen in `params` make active, in file order.

        If `params` lacks a choice of named mappings, no parameter under its options is active.
        """
        return tuple(parameter.name for parameter in _parameters(self.template, params))

    def default(self) -> dict[str, Value]:
        """Every active parameter at its domain's default."""
        return self.collect(lambda parameter: parameter.domain.default())

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """A random value for each active parameter; the same generator state gives the same values."""
        return self.collect(lambda parameter: parameter.domain.draw(rng))

    def suggest(self, trial: TrialLike) -> dict[str, Value]:
        """A value for each active parameter, suggested by an Optuna trial in file order (define-by-run)."""
        return self.collect(lambda parameter: parameter.domain.suggest(trial, parameter.name))

    def collect(self, choose: Choose) -> dict[str, Value]:
        """A value from `choose` for each parameter that the values so far make active."""
        params: dict[str, Value] = {}
        for parameter in _parameters(self.template, params):  # reads each choice after it was made
            params[parameter.name] = choose(parameter)
        return params

    def resolve(self, choose: Choose) -> Resolved:
        """The concrete tree with the values from `choose`, which is called in file order."""
        sources: dict[KeyPath, KeyPath] = {}
        tree = _fill_mapping(self.template, (), ("train",), choose, sources)
        return Resolved(tree, sources)

    def problems(self, params: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
        """Why `params` is not a point of this space, as (parameter, message) pairs; empty if it is one."""
        problems: list[tuple[str, str]] = []
        active = list(_parameters(self.template, params))
        for parameter in active:
            if parameter.name not in params:
                problems.append((parameter.name, f"has no value; expected {parameter.domain}"))
            elif params[parameter.name] not in parameter.domain:
                problems.append((parameter.name, f"{params[parameter.name]!r} is outside {parameter.domain}"))
        known = {parameter.name for parameter in active}
        for name in params:
            if name not in known:
                there = "exists only with another option" if name in self.domains else "is no parameter of this space"
                problems.append((name, there))
        return tuple(problems)


def _parameters(node: Template, params: Mapping[str, Value] | None) -> Iterator[Parameter]:
    """Parameters in file order: those active under `params`, or all if it is None."""
    if isinstance(node, Parameter):
        yield node
        for option, branch in node.branches.items():
            if params is None or params.get(node.name) == option:
                yield from _parameters(branch, params)
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _parameters(child, params)


def _fill(node: Template, bound: KeyPath, source: KeyPath, choose: Choose, sources: dict[KeyPath, KeyPath]) -> Plain:
    sources[bound] = source
    if isinstance(node, Parameter):
        value = choose(node)
        if isinstance(node.domain, Choice) and value in node.domain:
            sources[bound] = (*source, "choice", node.domain.values.index(value))
        return value
    if isinstance(node, dict):
        return _fill_mapping(node, bound, source, choose, sources)
    if isinstance(node, list):
        return [_fill(child, (*bound, number), (*source, number), choose, sources) for number, child in enumerate(node)]
    return node


def _fill_mapping(
    node: Mapping[str, Template], bound: KeyPath, source: KeyPath, choose: Choose, sources: dict[KeyPath, KeyPath]
) -> dict[str, Plain]:
    result: dict[str, Plain] = {}
    for key, child in node.items():
        if isinstance(child, Parameter) and child.branches:
            option = str(choose(child))
            branch_source = (*source, key, "choice", option)
            result |= _fill_mapping(child.branches[option], bound, branch_source, choose, sources)
        else:
            result[key] = _fill(child, (*bound, key), (*source, key), choose, sources)
    return result
