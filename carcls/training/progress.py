"""What one epoch leaves on disk, and taking it up again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from carcls.config import TrainConfig
from carcls.errors import CheckpointError
from carcls.training.checkpoint import load_state, save_state
from carcls.training.learner import Learner
from carcls.training.position import Position
from carcls.training.retention import checkpoint_name, trial_file


@dataclass(frozen=True)
class Progress:
    """A training between two epochs, as a checkpoint holds it."""

    path: Path
    position: Position
    arrays: dict[str, NDArray[Any]]
    backbone: str | None
    """The backbone's `backbone_identity` where it is as it was at the start: then `arrays` leave it out."""


def save_progress(
    config: TrainConfig, learner: Learner, position: Position, *, backbone: str | None, folder: Path, attempt: int
) -> None:
    """Write the full state after an epoch, and its weights alone where it is the best one. Raises OSError.

    A backbone that is as it was at the start is named in place of its variables. The weights come first: a checkpoint
    never names weights that are not there.
    """
    model, best = learner.model_arrays(with_backbone=backbone is None), position.best_so_far
    if best.epoch == position.epoch:
        save_state(folder / best.path, model, {"image_size": best.image_size, "backbone": backbone})
    meta = {"position": position.to_json(), "config": config.model_dump(mode="json"), "backbone": backbone}
    save_state(folder / checkpoint_name(attempt, position.epoch), model | learner.optimizer_arrays(), meta)


def load_progress(config: TrainConfig, folder: Path, resume: str) -> Progress:
    """What a checkpoint relative to `folder` holds. Raises CheckpointError where it is missing, torn, or of another
    configuration.
    """
    arrays, meta = load_state(trial_file(folder, resume))
    changed = changed_keys(_with_defaults(meta.get("config", {})), config.model_dump(mode="json"))
    if changed:
        raise CheckpointError(
            f"{folder / resume} belongs to another configuration: {', '.join(changed)} changed;"
            " start a new training, or resume with the configuration that began it"
        )
    return Progress(folder / resume, Position.from_json(meta.get("position", {})), arrays, meta.get("backbone"))


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A key that did not exist yet when the checkpoint was written has its default: defaults keep their meaning."""
    try:
        return TrainConfig.model_validate(config).model_dump(mode="json")
    except ValidationError:
        return config


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Top-level keys whose values differ or that only one has, sorted."""
    missing = object()
    return tuple(sorted(key for key in old.keys() | new.keys() if old.get(key, missing) != new.get(key, missing)))
