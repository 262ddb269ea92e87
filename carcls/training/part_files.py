"""Saves the state of a training run in the middle of an epoch, and resumes from it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from carcls.config import TrainConfig
from carcls.errors import CheckpointError
from carcls.events import PhaseSeconds
from carcls.training.checkpoint import load_state, read_meta, save_state
from carcls.training.epoch_files import Progress, check_config
from carcls.training.epoch_parts import BegunEpoch
from carcls.training.initial_weights import read_omitted
from carcls.training.learner import Learner
from carcls.training.part_names import part_file, part_name, parts_of
from carcls.training.position import Position

_METRIC = "metric/"


@dataclass(frozen=True, slots=True)
class PartWriter:
    """Writes the parts of one attempt."""

    config: TrainConfig
    folder: Path
    attempt: int
    weights: str | None
    """As in `epoch_files.save_progress`."""

    def save(self, learner: Learner, position: Position, begun: BegunEpoch, of: int, *, after: str | None) -> None:
        """Writes the full state within the epoch after `position`, in place of an earlier one of the same epoch.

        of: number of the epoch's batches. after: the checkpoint of the epoch before, relative to the folder, or None
        before the first. Raises OSError.
        """
        left_out = {} if self.weights is None else dict(learner.initial_variables)
        meta = {
            "position": position.to_json(),
            "config": self.config.model_dump(mode="json"),
            "weights": self.weights if left_out else None,
            "left_out": left_out,
            "after": after,
            "batches": begun.batches,
            "of": of,
            "fill": learner.stage.fill,
            "spent": asdict(begun.spent),
        }
        metrics = {f"{_METRIC}{number:04d}": array for number, array in enumerate(begun.metrics)}
        arrays = learner.model_arrays(without=left_out) | learner.optimizer_arrays() | metrics
        save_state(self.folder / part_name(self.attempt, position.epoch + 1), arrays, meta)


def load_part(config: TrainConfig, folder: Path, name: str) -> tuple[Progress, BegunEpoch]:
    """Reads what `PartWriter.save` wrote. Raises CheckpointError if it is damaged or belongs to another
    configuration."""
    path = part_file(folder, name)
    arrays, meta = load_state(path)
    check_config(config, meta, path)
    weights, left_out = read_omitted(meta)
    metrics = tuple(arrays.pop(key) for key in sorted(key for key in arrays if key.startswith(_METRIC)))
    begun = BegunEpoch(_whole(meta, "batches"), metrics, _seconds(meta))
    return Progress(path, Position.from_json(meta.get("position", {})), arrays, weights, left_out), begun


def part_after(
    folder: Path, checkpoint: str | None, epoch: int, *, fill_of: Callable[[int], int | None] | None = None
) -> tuple[str | None, tuple[str, ...]]:
    """The part of an epoch that continues from a checkpoint, or None; and one line for each file that cannot be used.

    checkpoint: relative to `folder`, None for the start of the training. epoch: counted from 1. fill_of: size to which
    batches of a stage are filled now, see `stage_fill`; a part with another one cannot be used, since the running mean
    of its loss counts batches differently. None accepts any. Verifies all bytes.
    """
    wrong = []
    for name in parts_of(folder, epoch):
        try:
            meta = read_meta(part_file(folder, name))
        except CheckpointError as error:
            wrong.append(str(error).removesuffix("; resume from an earlier one or start again"))
            continue
        if meta.get("after", "") != checkpoint:
            continue
        if fill_of is None or _fits(meta, fill_of):
            return name, tuple(wrong)
        wrong.append(f"{part_file(folder, name)}: its batches were filled up to another size than now")
    return None, tuple(wrong)


def _fits(meta: Mapping[str, Any], fill_of: Callable[[int], int | None]) -> bool:
    """Whether a part's batches had the size that they have now."""
    return "fill" in meta and meta["fill"] == fill_of(Position.from_json(meta.get("position", {})).stage)


def part_line(folder: Path, name: str) -> str:
    """Where a training resumes, for a log line. Raises CheckpointError."""
    meta = read_meta(part_file(folder, name))
    epoch = Position.from_json(meta.get("position", {})).epoch + 1
    return f"resumes within epoch {epoch}, after {_whole(meta, 'batches')} of {_whole(meta, 'of')} batches"


def _whole(meta: Mapping[str, Any], key: str) -> int:
    value = meta.get(key)
    if not isinstance(value, int) or value < 1:
        raise CheckpointError(f"not a part of an epoch: {key} is {value!r}, expected a number from 1")
    return value


def _seconds(meta: Mapping[str, Any]) -> PhaseSeconds:
    try:
        spent = PhaseSeconds(**meta["spent"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"not a part of an epoch: no seconds by phase ({error})") from error
    return spent
