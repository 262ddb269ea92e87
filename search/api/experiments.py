"""Experiments from files, dictionaries or photos."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from search.experiment.experiment import Experiment, from_text
from search.experiment.experiment import load as _load
from search.experiment.file.yaml_source import dump


def load(file: str | Path, **changes: Any) -> Experiment:  # noqa: ANN401 - any plain value
    """Reads and checks an experiment file.

    changes: keys to change, with `__` for the dot: `load("cars.yaml", search__trials=8)`. Raises ExperimentError with
    every problem found.
    """
    return _load(Path(file), override_texts(changes))


def build(tree: Mapping[str, Any]) -> Experiment:
    """An experiment from a dictionary with the keys of an experiment file; see `choice`, `uniform`, `loguniform`.

    Relative paths are relative to the current folder. Raises ExperimentError with every problem found; its lines are
    those of the dictionary written as YAML.
    """
    return from_text(dump(_plain(tree)), "experiment")


def for_photos(
    photos: str | Path,
    *,
    preset: Literal["quick", "medium", "best"] = "quick",
    name: str | None = None,
    weights: Sequence[str | Path] = (),
) -> Experiment:
    """An experiment sized for a folder of photos and this machine, as `carsearch init` writes it.

    weights: files or folders of weights, for machines without a network. Raises DataError or StartError.
    """
    from carcls.inspection.weights_at_hand import weights_server_answers  # noqa: PLC0415 - only for this call
    from search.start.experiment_text import experiment_text  # noqa: PLC0415
    from search.start.plan import make_plan  # noqa: PLC0415
    from search.start.sources import study_name  # noqa: PLC0415
    from search.start.survey import look  # noqa: PLC0415

    root = Path(photos)
    study = name or study_name(root)
    found = look(root, weights=[Path(one).absolute() for one in weights], reachable=weights_server_answers)
    return from_text(experiment_text(found, make_plan(found, preset), name=study, file=Path(f"{study}.yaml")), study)


def override_texts(changes: Mapping[str, Any]) -> list[str]:
    """Changes as `path=value` texts: `__` in a key means a dot, values become YAML on one line. Pure."""
    return [f"{key.replace('__', '.')}={json.dumps(_plain(value))}" for key, value in changes.items()]


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value
    """Mappings, sequences and paths as YAML has them; other values as they are."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
