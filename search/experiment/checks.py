"""Checks the corners of the space, and samples of it, against the training schema before any GPU is used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from carcls.catalog import PRESETS, nearest_name
from carcls.config import TrainConfig
from search.experiment.domains import Uniform, Value
from search.experiment.file.overlay import listed_items, overlay
from search.experiment.file.paths import WEIGHT_SUFFIXES, WEIGHT_WORDS
from search.experiment.file.problems import Problems
from search.experiment.file.yaml_source import KeyPath, Plain
from search.experiment.schema import Violation, check
from search.experiment.space import Parameter, Resolved, Space

SAMPLES = 256
"""Random configurations that a check tries. Rarer mistakes are reported when a configuration is bound."""


def check_space(space: Space, baseline: Mapping[str, Value], retrain: Mapping[str, Plain], problems: Problems) -> None:
    """Notes what keeps the baseline, a corner of a domain, or a sample from being trained or retrained."""
    checker = _Checker(space, retrain, problems)
    for params in corners(space, baseline):
        checker.try_params(params)
    rng = np.random.default_rng(0)
    for _ in range(0 if len(problems) else SAMPLES):
        checker.try_params(space.sample(rng))
    checker.check_retrain_items()


def weights_problem(weights: str) -> str | None:
    """What is wrong with a value of `weights`, without opening the file; or None."""
    if weights in (*WEIGHT_WORDS, *PRESETS) or weights.endswith(WEIGHT_SUFFIXES):
        return None
    near = nearest_name(weights, (*WEIGHT_WORDS, *PRESETS))
    expected = (
        f"did you mean {near!r}?"
        if near
        else f"expected {', '.join(WEIGHT_WORDS)}, or a path to a {' or '.join(WEIGHT_SUFFIXES)} file"
    )
    return f"unknown weights {weights!r}; {expected}"


def source_path(sources: Mapping[KeyPath, KeyPath], path: KeyPath, otherwise: KeyPath) -> KeyPath:
    """The path in the file of a path in a resolved tree. otherwise: the file's path of the tree's top."""
    for length in range(len(path), 0, -1):
        if path[:length] in sources:
            return sources[path[:length]] + path[length:]
    return otherwise + path


def corners(space: Space, baseline: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
    """The baseline, then each parameter at each of its corners with all others at the baseline: points of the space."""
    yield dict(baseline)
    for parameter in space.parameters:
        for end in parameter.domain.corners():
            forced: dict[str, Value] = {**baseline, **dict(parameter.under), parameter.name: end}
            yield space.collect(lambda other, forced=forced: _value(other, forced))  # type: ignore[misc] # mypy cannot infer a lambda with a default


def _value(parameter: Parameter, forced: Mapping[str, Value]) -> Value:
    return forced[parameter.name] if parameter.name in forced else parameter.domain.default()


@dataclass
class _Checker:
    space: Space
    retrain: Mapping[str, Plain]
    problems: Problems
    _items: dict[KeyPath, dict[str, None]] = field(default_factory=dict)
    """Names of the items of each list that `retrain` changes by item, in any configuration; in order."""
    _seen: set[tuple[KeyPath, str]] = field(default_factory=set)

    def try_params(self, params: Mapping[str, Value]) -> None:
        resolved = self.space.resolve(lambda parameter: params[parameter.name])
        config = check(TrainConfig, resolved.tree)
        tree = config.model_dump(mode="json") if isinstance(config, TrainConfig) else resolved.tree
        for path, names in listed_items(tree, self.retrain):
            self._items.setdefault(path, {}).update(dict.fromkeys(names))
        self._note_weights(resolved, ("train",))
        if isinstance(config, TrainConfig):
            self._try_retrain(config)
            return
        for wrong in config:
            path = source_path(resolved.sources, wrong.path, ("train",))
            if not self.problems.is_broken(path) and not (wrong.is_missing and self.problems.any_broken):
                self._add(path, wrong.message + self._number_hint(path, wrong))

    def _add(self, path: KeyPath, message: str) -> None:
        """Adds one problem for each path and expectation, regardless of the values found."""
        expectation = message.partition(", found")[0]
        if (path, expectation) not in self._seen:
            self._seen.add((path, expectation))
            self.problems.add(path, message)

    def _note_weights(self, resolved: Resolved, section: KeyPath) -> None:
        weights = resolved.tree.get("weights")
        message = weights_problem(weights) if isinstance(weights, str) else None
        if message:
            self._add(source_path(resolved.sources, ("weights",), section), message)

    def _number_hint(self, path: KeyPath, wrong: Violation) -> str:
        """A hint for `uniform` on a whole number, where `int` was meant."""
        is_uniform = any(
            parameter.source == path and isinstance(parameter.domain, Uniform) for parameter in self.space.parameters
        )
        return "; a whole number varies by `int: [low, high]`" if is_uniform and "whole number" in wrong.message else ""

    def _try_retrain(self, config: TrainConfig) -> None:
        resolved = overlay(config.model_dump(mode="json"), self.retrain, ("retrain",))
        changed = check(TrainConfig, resolved.tree)
        if isinstance(changed, TrainConfig):
            if "weights" in self.retrain:
                self._note_weights(resolved, ("retrain",))
            return
        for wrong in changed:
            self._add(source_path(resolved.sources, wrong.path, ("retrain",)), wrong.message)

    def check_retrain_items(self) -> None:
        """Notes stages and other items in `retrain` that exist in no configuration."""
        for path, names in self._items.items():
            changes: Plain = self.retrain
            for key in path:
                changes = changes[key]
            for name in changes:
                if name not in names:
                    self.problems.add(("retrain", *path, name), _no_such_item(path, name, tuple(names)))


def _no_such_item(path: KeyPath, name: str, names: tuple[str, ...]) -> str:
    """path: of the list in a configuration. names: of its items in all configurations."""
    if not names:
        return "there is no item: the list is empty"
    if path != ("stages",):
        return f"no item has this number; expected one of {', '.join(names)}"
    near = nearest_name(name, names)
    return "no stage has this name; " + (f"did you mean {near!r}?" if near else f"expected one of {', '.join(names)}")
