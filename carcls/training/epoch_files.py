"""What one epoch leaves on disk, and taking it up again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from carcls.config import TrainConfig
from carcls.errors import CheckpointError
from carcls.training.checkpoint import load_state, read_meta, save_state
from carcls.training.initial import LeftOut, read_left_out
from carcls.training.learner import Learner
from carcls.training.position import Position
from carcls.training.retention import checkpoint_name, checkpoints_up_to, trial_file


@dataclass(frozen=True)
class Progress:
    """A training between two epochs, as a checkpoint holds it."""

    path: Path
    position: Position
    arrays: dict[str, NDArray[Any]]
    weights: str | None
    """`backbone_identity` of the weights that complete `arrays`; None where these hold everything."""
    left_out: LeftOut | None
    """What `arrays` leave out; None: the whole backbone, see `InitialWeights.restore`."""


def save_progress(
    config: TrainConfig, learner: Learner, position: Position, *, weights: str | None, folder: Path, attempt: int
) -> None:
    """Write the full state after an epoch, and its weights alone where it is the best one. Raises OSError.

    weights: `backbone_identity` of those that the backbone was begun with: variables that are still the same are named
    in place of being written. None: everything is written. The best weights come first: a checkpoint never names any
    that are not there.
    """
    left_out = {} if weights is None else dict(learner.initial_variables)
    origin = {"weights": weights if left_out else None, "left_out": left_out}
    model, best = learner.model_arrays(without=left_out), position.best_so_far
    if best.epoch == position.epoch:
        save_state(folder / best.path, model, {"image_size": best.image_size, **origin})
    meta = {"position": position.to_json(), "config": config.model_dump(mode="json"), **origin}
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
    position, (weights, left_out) = Position.from_json(meta.get("position", {})), read_left_out(meta)
    return Progress(folder / resume, position, arrays, weights, left_out)


def newest_whole(folder: Path, newest: str, *, with_best: bool) -> tuple[str | None, tuple[str, ...]]:
    """What a trial in `folder` can go on from: `newest`, or the latest whole checkpoint of an earlier epoch; else None.

    And one line for each file that is missing or torn, for whoever watches. with_best: the best weights that it names
    must be whole too. Every byte is read and compared with its checksum. Raises CheckpointError for a name that is none
    of a checkpoint.
    """
    wrong = []
    for name in checkpoints_up_to(folder, newest):
        try:
            best = position_of(folder, name).best
            if with_best and best is not None:
                read_meta(trial_file(folder, best.path))
        except CheckpointError as error:
            text = str(error).removesuffix("; resume from an earlier one or start anew")
            wrong.append(text if text.startswith(str(folder)) else f"{folder / name}: {text}")
        else:
            return name, tuple(wrong)
    return None, tuple(wrong)


def position_of(folder: Path, name: str) -> Position:
    """Where a training stands by one of its checkpoints in `folder`. Raises CheckpointError where missing or torn."""
    return Position.from_json(read_meta(trial_file(folder, name)).get("position", {}))


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
