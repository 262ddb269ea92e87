"""Saves the state of a training run after an epoch, and resumes from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from carcls.config import TrainConfig
from carcls.errors import CheckpointError
from carcls.training.checkpoint import load_state, read_meta, save_state
from carcls.training.initial_weights import Omitted, read_omitted
from carcls.training.learner import Learner
from carcls.training.position import Position
from carcls.training.retention import checkpoint_name, checkpoints_up_to, trial_file


@dataclass(frozen=True)
class Progress:
    """A training run between two epochs, as loaded from a checkpoint."""

    path: Path
    position: Position
    arrays: dict[str, NDArray[Any]]
    weights: str | None
    """`backbone_identity` of the weights that complete `arrays`, or None if `arrays` is complete."""
    left_out: Omitted | None
    """Variables missing from `arrays`, or None for the whole backbone, see `InitialWeights.restore`."""


def save_progress(
    config: TrainConfig, learner: Learner, position: Position, *, weights: str | None, folder: Path, attempt: int
) -> None:
    """Writes the full state after an epoch, and separately its scored weights if it is the best one. Raises OSError.

    weights: `backbone_identity` of the initial backbone weights. Variables that have not changed since are only named,
    not written. None writes everything. The best weights are written first, so that a checkpoint never refers to
    missing ones.
    """
    left_out = {} if weights is None else dict(learner.initial_variables)
    origin = {"weights": weights if left_out else None, "left_out": left_out}
    best = position.best_so_far
    if best.epoch == position.epoch:  # this epoch is the best so far
        with learner.stage.scored_weights():
            save_state(
                folder / best.path, learner.model_arrays(without=left_out), {"image_size": best.image_size, **origin}
            )
    meta = {"position": position.to_json(), "config": config.model_dump(mode="json"), **origin}
    arrays = learner.model_arrays(without=left_out) | learner.optimizer_arrays()
    save_state(folder / checkpoint_name(attempt, position.epoch), arrays, meta)


def load_progress(config: TrainConfig, folder: Path, resume: str) -> Progress:
    """Loads a checkpoint. resume: its path relative to `folder`.

    Raises CheckpointError if it is missing, damaged, or belongs to another configuration.
    """
    arrays, meta = load_state(trial_file(folder, resume))
    check_config(config, meta, folder / resume)
    position, (weights, left_out) = Position.from_json(meta.get("position", {})), read_omitted(meta)
    return Progress(folder / resume, position, arrays, weights, left_out)


def check_config(config: TrainConfig, meta: Mapping[str, Any], path: Path) -> None:
    """Raises CheckpointError if the checkpoint at `path`, with these JSON values, belongs to another configuration."""
    changed = changed_keys(_with_defaults(meta.get("config", {})), config.model_dump(mode="json"))
    if changed:
        raise CheckpointError(
            f"{path} belongs to another configuration: {', '.join(changed)} changed;"
            " start a new training, or resume with the original configuration"
        )


def newest_intact(folder: Path, newest: str, *, with_best: bool) -> tuple[str | None, tuple[str, ...]]:
    """The checkpoint to resume from: `newest`, or else the latest intact one of an earlier epoch, or None.

    Also returns one log line per missing or damaged file. with_best: the best weights that it refers to must be intact
    too. Verifies checksums of all bytes. Raises CheckpointError for a name that is not a checkpoint's.
    """
    wrong = []
    for name in checkpoints_up_to(folder, newest):
        try:
            best = position_of(folder, name).best
            if with_best and best is not None:
                read_meta(trial_file(folder, best.path))
        except CheckpointError as error:
            text = str(error).removesuffix("; resume from an earlier one or start again")
            wrong.append(text if text.startswith(str(folder)) else f"{folder / name}: {text}")
        else:
            return name, tuple(wrong)
    return None, tuple(wrong)


def position_of(folder: Path, name: str) -> Position:
    """Position stored in a checkpoint in `folder`. Raises CheckpointError if it is missing or damaged."""
    return Position.from_json(read_meta(trial_file(folder, name)).get("position", {}))


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Fills in keys that did not exist when the checkpoint was written. Defaults never change their meaning."""
    try:
        return TrainConfig.model_validate(config).model_dump(mode="json")
    except ValidationError:
        return config


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Sorted top-level keys whose values differ or that only one mapping has."""
    missing = object()
    return tuple(sorted(key for key in old.keys() | new.keys() if old.get(key, missing) != new.get(key, missing)))
