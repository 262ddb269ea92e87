"""One training from its first stage to its last: `fine_tune` is the story."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.config import TrainConfig
from carcls.data.epoch_plan import batch_count
from carcls.data.source import TrainingData
from carcls.errors import CheckpointError, DataError, WeightsError
from carcls.events import EpochReport
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.weights import resolve_weights
from carcls.training.checkpoint import load_state, model_variables, restore_variables
from carcls.training.epoch import Epoch, run_epoch
from carcls.training.failures import naming_out_of_memory
from carcls.training.features import FrozenBackbone, backbone_identity
from carcls.training.inputs import FeatureInput, PixelInput, StageInput, why_not_shared
from carcls.training.learner import Learner
from carcls.training.position import Position, stopping_note
from carcls.training.progress import load_progress, save_progress
from carcls.training.retention import best_name, checkpoint_name, trial_file


def fine_tune(
    config: TrainConfig,
    data: TrainingData,
    on_epoch: Callable[[EpochReport], None],
    *,
    folder: Path,
    attempt: int = 0,
    resume: str | None = None,
    stop_after_stage: int | None = None,
) -> None:
    """Train a classifier through the stages of `config`; `on_epoch` hears of each epoch once its checkpoint is on disk.

    Writes only under `folder`/attempt-<attempt>/ and deletes nothing. With `resume`, a checkpoint relative to `folder`
    ('attempt-0/epoch-0003.npz'), it goes on after that epoch, on the same machine to the same numbers as if it had
    never stopped. `stop_after_stage` counts from 0: it returns when that stage has ended, at once where it already had.

    Early stopping ends a stage, never the training. The best weights over all stages, by `EpochReport.rank`, are kept
    with the image size at which they were validated: a later stage that does worse replaces nothing.

    Raises WeightsError, CheckpointError and DataError before any training; DivergedError where a loss is no longer
    finite; OutOfMemoryError where the device has no room. What `on_epoch` raises passes through.
    """
    position, arrays = (Position(), None) if resume is None else load_progress(config, folder, resume)
    weights = resolve_weights(config) if arrays is None else None  # a checkpoint holds all of them
    _check_validation(data)
    learner = Learner(config, class_counts=_class_counts(data), weights=weights)
    last_stage = len(config.stages) - 1 if stop_after_stage is None else stop_after_stage

    for number in range(position.next_stage, last_stage + 1):
        position = position.entering(number)
        with naming_out_of_memory(config, number):
            started = time.perf_counter()
            learner.enter_stage(number, steps_per_epoch=batch_count(len(data.split.train), config.batch_size))
            if arrays is not None:
                learner.restore(arrays, with_optimizer=position.stage_epoch > 0)
                arrays = None
            photos = _stage_input(config, data, learner, number, weights)
            build_s = time.perf_counter() - started

        while not position.stage_ended:
            with naming_out_of_memory(config, number):
                epoch = run_epoch(config, learner, photos, data.split.validation.labels, position, build_s=build_s)
            position = position.after_epoch(config, epoch.scores, attempt=attempt)
            save_progress(config, learner, position, folder, attempt)
            on_epoch(_report(config, data, position, epoch, attempt))
            build_s = 0.0


def load_best(config: TrainConfig, folder: Path, report: EpochReport, *, class_count: int) -> tuple[Classifier, int]:
    """The classifier with the best weights that a report names, and the image size in px at which they were validated.

    The model is not compiled and everything in it is trainable. Raises CheckpointError where the file is missing, torn,
    or of another model.
    """
    path = trial_file(folder, report.best_weights)
    arrays, meta = load_state(path)
    size_px = meta.get("image_size")
    if not isinstance(size_px, int):
        raise CheckpointError(f"{path} does not tell its image size; expected best weights such as {best_name(0, 3)!r}")
    classifier = build_classifier(config, size_px=size_px, class_count=class_count, weights=None)
    restore_variables(model_variables(classifier.model), arrays)
    return classifier, size_px


def _stage_input(
    config: TrainConfig, data: TrainingData, learner: Learner, number: int, weights: Path | None
) -> StageInput:
    """What the learner's current stage is trained on."""
    size_px = config.stage_image_size(number)
    if not learner.is_frozen:
        return PixelInput(config, data, size_px)
    identity = _frozen_identity(config, number, weights)
    return FeatureInput(config, data, FrozenBackbone(learner.features, learner.feature_count, size_px, identity))


def _frozen_identity(config: TrainConfig, number: int, weights: Path | None) -> str | None:
    """Whose weights a frozen backbone has: those it started with, unless an earlier stage changed them."""
    if any(stage.unfreeze for stage in config.stages[:number]):
        return None
    try:
        return backbone_identity(config, weights or resolve_weights(config))
    except WeightsError:  # the checkpoint that was resumed holds them, and the file may be gone
        return None


def _class_counts(data: TrainingData) -> NDArray[np.int64]:
    """Training photos of each class, (classes,)."""
    return np.bincount(data.split.train.labels, minlength=len(data.split.class_names))


def _check_validation(data: TrainingData) -> None:
    if not len(data.split.validation) or not len(data.split.train):
        raise DataError(
            f"a training needs photos to train on and photos to validate on; this split has {len(data.split.train)}"
            f" and {len(data.split.validation)}: change the validation fraction"
        )


def _report(config: TrainConfig, data: TrainingData, position: Position, epoch: Epoch, attempt: int) -> EpochReport:
    """What the world hears; `position` is the one after the epoch."""
    stage = config.stages[position.stage]
    return EpochReport(
        epoch=position.epoch,
        stage=position.stage,
        stage_name=stage.name,
        stage_epoch=position.stage_epoch,
        stage_ended=position.stage_ended,
        train_loss=epoch.trained.loss,
        train_accuracy=epoch.trained.accuracy,
        val_log_loss=epoch.scores.log_loss,
        val_accuracy=epoch.scores.accuracy,
        val_macro_f1=epoch.scores.macro_f1,
        learning_rate=epoch.trained.learning_rate,
        image_size=config.stage_image_size(position.stage),
        images_per_s=len(data.split.train) / epoch.seconds.train,
        trainable_parameters=epoch.trainable_parameters,
        seconds=epoch.seconds,
        checkpoint=checkpoint_name(attempt, position.epoch),
        best_weights=position.best_so_far.path,
        notes=(*_feature_note(config, position), *stopping_note(stage, position)),
    )


def _feature_note(config: TrainConfig, position: Position) -> tuple[str, ...]:
    """Told once, on the first epoch of a frozen stage whose features cannot be kept."""
    reason = why_not_shared(config)
    is_told_now = config.stages[position.stage].unfreeze == 0.0 and position.stage_epoch == 1
    return (reason,) if reason is not None and is_told_now else ()
