"""The final training: one configuration through all its stages, then scored plain and with TTA, then one model file.

Serves `carsearch retrain STUDY` (the winner with the file's `retrain:` overrides) and `carsearch train FILE` alike.
"""

import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from carcls import atomic, devices
from carcls.config import TrainConfig
from carcls.data.folds import read_split
from carcls.data.source import TrainingData
from carcls.events import EpochReport
from carcls.training.progress import newest_whole
from carcls.training.retention import epoch_of, prune_checkpoints
from carcls.training.stages import fine_tune
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.final_lock import retraining
from search.folder import StudyFolder
from search.scores import Scores, read_reports, read_scores
from search.scoring import score
from search.stores import open_store
from search.study import Study
from search.tensorboard import EventLog

_NAME_LENGTH = 57
"""What a recipe's name keeps of its study's, so that with its ending it is a valid name again."""


def final_config(folder: StudyFolder, experiment: Experiment, trial: int | None) -> TrainConfig:
    """What the final training runs: a trial's configuration with the `retrain:` settings, or the fixed recipe."""
    if trial is None:
        return experiment.bind({})
    return experiment.retrain_config(Study.open(folder.root, read_only=True).config(trial))


def retrain(
    folder: StudyFolder,
    experiment: Experiment,
    config: TrainConfig,
    *,
    trial: int | None,
    say: Callable[[str], None],
) -> Scores:
    """Trains, or goes on where an earlier call was cut off; scores; exports. Returns at once where all is done.

    Raises StudyError where another configuration's training stands there or another process is at work on it, and
    whatever `fine_tune` raises.
    """
    with retraining(folder):
        _claim(folder, experiment, config)
        if folder.scores.exists() and folder.model.exists():
            say(f"{folder.retrain} is finished already; '--replace' trains anew")
            return read_scores(folder.scores)
        data = _training_data(folder, experiment)
        reports = _train(folder, experiment, config, data, say)
        scores = score(folder, experiment, config, data, reports, trial=trial)
        atomic.write_text(folder.scores, json.dumps(asdict(scores), indent=2))
        return scores


def _claim(folder: StudyFolder, experiment: Experiment, config: TrainConfig) -> None:
    """Writes the configuration, or checks that the training which stands there has the same."""
    path = folder.retrain / "config.json"
    text = config.model_dump_json(indent=2)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise StudyError(f"{folder.retrain} holds the training of another configuration: '--replace' deletes it")
    folder.retrain.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, text)
    recipe = io.StringIO()
    YAML(typ="safe").dump(_recipe(experiment, config), recipe)
    atomic.write_text(folder.recipe, recipe.getvalue())


def _recipe(experiment: Experiment, config: TrainConfig) -> dict[str, Any]:
    """The same training as an experiment file without domains."""
    return {
        "name": f"{experiment.name[:_NAME_LENGTH]}-recipe",
        "data": experiment.data.model_dump(mode="json"),
        "train": config.model_dump(mode="json"),
        # The seed is that of the views.
        "search": {"seed": experiment.search.seed, "deterministic": experiment.search.deterministic},
        "tta": experiment.tta.model_dump(mode="json"),
        "results": str(experiment.results),
        "store": experiment.store.model_dump(mode="json"),
    }


def _train(
    folder: StudyFolder, experiment: Experiment, config: TrainConfig, data: TrainingData, say: Callable[[str], None]
) -> tuple[EpochReport, ...]:
    devices.configure(threads=None, deterministic=experiment.search.deterministic, gpu_memory_share=None)
    _cut_torn_line(folder.retrain_reports)
    reports = list(read_reports(folder.retrain_reports))
    events = EventLog(folder.retrain)
    events.start("retrain", _flat("", config.model_dump(mode="json")))

    def on_epoch(report: EpochReport) -> None:
        reports.append(report)
        with folder.retrain_reports.open("a", encoding="utf-8") as file:
            file.write(json.dumps(report.to_json()) + "\n")
            file.flush()
            os.fsync(file.fileno())
        prune_checkpoints(folder.retrain, reports)
        events.epoch(report)
        say(epoch_line(report, config.total_epochs))

    if not _is_done(reports, config):
        fine_tune(
            config,
            data,
            on_epoch,
            folder=folder.retrain,
            attempt=len(list(folder.retrain.glob("attempt-*"))),
            resume=_resumable(folder, reports, say),
        )
        events.end(tuple(reports), failed=False)
    return tuple(reports)


def _resumable(folder: StudyFolder, reports: list[EpochReport], say: Callable[[str], None]) -> str | None:
    """The last checkpoint or, where it or its best weights are lost, one from before; None: it starts again.

    Epochs beyond it are forgotten, and trained again: the model shall be the one that the reports tell of.
    """
    if not reports:
        return None
    name, lost = newest_whole(folder.retrain, reports[-1].checkpoint, with_best=True)
    if lost:
        say(f"{'; '.join(lost)}: {f'going on from {name}' if name else 'starting again'}")
        del reports[0 if name is None else epoch_of(name) :]
        lines = "".join(json.dumps(report.to_json()) + "\n" for report in reports)
        atomic.write_text(folder.retrain_reports, lines)
    return name


def epoch_line(report: EpochReport, total_epochs: int) -> str:
    """One epoch in one line of the terminal."""
    return (
        f"epoch {report.epoch:>3}/{total_epochs}  {report.stage_name:<8} {report.image_size} px"
        f"  train loss {report.train_loss:.3f} acc {report.train_accuracy:.3f}"
        f"  validation loss {report.val_log_loss:.3f} acc {report.val_accuracy:.3f}"
        f"  {report.seconds.total:.1f} s"
    )


def _is_done(reports: list[EpochReport], config: TrainConfig) -> bool:
    return bool(reports) and reports[-1].stage_ended and reports[-1].stage == len(config.stages) - 1


def _cut_torn_line(path: Path) -> None:
    """Takes away a last line that was cut off while being written, so that another can be appended."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        atomic.write_text(path, whole)


def _training_data(folder: StudyFolder, experiment: Experiment) -> TrainingData:
    return TrainingData(
        split=read_split(folder.split, experiment.data.root),
        store=open_store(experiment.store),
        view_seed=experiment.search.seed,
        processes=len(os.sched_getaffinity(0)),
    )


def _flat(prefix: str, value: object) -> dict[str, Any]:
    """A tree's plain values by dotted key, stages by name."""
    if isinstance(value, dict):
        parts = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        parts = [(stage["name"], stage) for stage in value]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in parts:
        flat |= _flat(f"{prefix}.{key}" if prefix else key, inner)
    return flat
