"""Strong, different recipes that a search tries first, after its baseline: built in, or the user's own files."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML

from carcls.config import TrainConfig
from search.errors import ExperimentError, Problem
from search.experiment.experiment import Experiment, load

BUILTIN = "builtin"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One configuration to try."""

    name: str
    config: TrainConfig
    source: str = "your own file"
    is_measured: bool = False
    """Whether its place in the order was measured on recorded tables."""
    gpu_gb: float = 0.0
    """Memory of the GPU that it needs, in GiB; 0: it also trains on CPUs."""
    min_photos: int = 0
    """Labelled photos below which it is not tried."""
    file: str = ""
    """The user's file that it is from; empty for a built-in one."""

    @property
    def label(self) -> str:
        """Its name, and the file that it is from, for messages."""
        return f"{self.name} ({self.file})" if self.file else self.name

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`."""
        return cls(**{**values, "config": TrainConfig.model_validate(values["config"])})

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"config": self.config.model_dump(mode="json")}


def builtin_recipes() -> tuple[Recipe, ...]:
    """All that this version knows, in order."""
    text = (files("search.experiment") / "builtin_portfolio.yaml").read_text(encoding="utf-8")
    return tuple(
        Recipe(
            name=entry["name"],
            config=TrainConfig.model_validate(entry["train"]),
            source=entry["source"],
            is_measured=entry["measured"],
            gpu_gb=entry["gpu_gb"],
            min_photos=entry.get("min_photos", 0),
        )
        for entry in YAML(typ="safe").load(text)
    )


def recipes(experiment: Experiment) -> tuple[Recipe, ...]:
    """What `search.portfolio` names, in order. Raises ExperimentError if a file is no recipe, naming the file."""
    named = experiment.search.portfolio
    if named is None:
        return ()
    if named == BUILTIN:
        return builtin_recipes()
    return tuple(_of_file(experiment, Path(file)) for file in named)


def _of_file(experiment: Experiment, file: Path) -> Recipe:
    def refused(why: str) -> Problem:
        return Problem(str(experiment.path), "search.portfolio", f"{file}: {why}")

    try:
        own = load(file)  # from the current folder, as all paths
    except ExperimentError as error:
        named = refused("is no recipe that can be used, for the reasons below; paths are from the current folder")
        raise ExperimentError((named, *error.problems)) from error
    if not own.is_fixed:
        problem = refused("has domains to search; expected a recipe, such as a study's retrain/recipe.yaml")
        raise ExperimentError((problem,))
    return Recipe(own.name, own.bind({}), file=str(file))


def fitting(
    found: Sequence[Recipe],
    *,
    photos: int,
    gpu_gb: float | None,
    trials: int,
    weights_of: Callable[[TrainConfig], str | None],
    why_not: Callable[[TrainConfig], str | None] = lambda _: None,
) -> tuple[tuple[Recipe, ...], tuple[str, ...]]:
    """The recipes to try, with the weights to use, and one line for each one left out. Pure.

    photos: labelled. gpu_gb: memory of a trial's GPU in GiB, None without one. trials: of the search; the recipes get
    half of them at most, so that the search can still learn. weights_of: what stands for a recipe's weights here; None
    if there are none. why_not: what else keeps a configuration from being used here, as a clause, or None.
    """
    kept: list[Recipe] = []
    left_out: list[str] = []
    for recipe in found:
        weights = weights_of(recipe.config)
        if photos < recipe.min_photos:
            why = f"needs {recipe.min_photos:,} photos"
        elif recipe.gpu_gb > (gpu_gb or 0.0):
            why = f"needs a GPU with {recipe.gpu_gb:g} GB, more than a trial has on this machine"
        elif (reason := why_not(recipe.config)) is not None:
            why = reason
        elif weights is None:
            why = "its weights are not here"
        elif len(kept) >= max(0, (trials - 1) // 2):
            why = f"half of {trials} trials are left to the search"
        else:
            kept.append(replace(recipe, config=recipe.config.model_copy(update={"weights": weights})))
            continue
        left_out.append(f"portfolio: {recipe.label} is left out: {why}")
    return tuple(kept), tuple(left_out)


def to_text(kept: Sequence[Recipe]) -> str:
    """JSON, for the study."""
    return json.dumps([recipe.to_json() for recipe in kept])


def from_text(text: str) -> tuple[Recipe, ...]:
    """Inverse of `to_text`."""
    return tuple(Recipe.from_json(values) for values in json.loads(text))
