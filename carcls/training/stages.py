"""One training from its first stage to its last: `fine_tune` is the story."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls import metrics
from carcls.config import TrainConfig
from carcls.data.batches import EpochBatches, training_batches
from carcls.data.source import TrainingData
from carcls.errors import CheckpointError, DataError
from carcls.events import EpochReport, PhaseSeconds
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.weights import resolve_weights
from carcls.training.checkpoint import load_state, model_variables, restore_variables
from carcls.training.failures import check_finite, naming_out_of_memory
from carcls.training.learner import Learner, Trained
from carcls.training.position import Position, Scores, stopping_note
from carcls.training.progress import load_progress, save_progress
from carcls.training.retention import best_name, checkpoint_name, trial_file


@dataclass(frozen=True, slots=True)
class _Epoch:
    """What came of one epoch, before anybody judged it."""

    trained: Trained
    scores: Scores
    seconds: PhaseSeconds
    images: int
    trainable_parameters: int


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
            learner.enter_stage(number, steps_per_epoch=len(_batches(config, data, position)))
            if arrays is not None:
                learner.restore(arrays, with_optimizer=position.stage_epoch > 0)
                arrays = None
            build_s = time.perf_counter() - started

        while not position.stage_ended:
            with naming_out_of_memory(config, number):
                epoch = _run_epoch(config, data, learner, position, build_s=build_s)
            position = position.after_epoch(config, epoch.scores, attempt=attempt)
            save_progress(config, learner, position, folder, attempt)
            on_epoch(_report(config, position, epoch, attempt))
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


def _batches(config: TrainConfig, data: TrainingData, position: Position) -> EpochBatches:
    """Those of the epoch after `position`, at its stage's image size."""
    size_px = config.stage_image_size(position.stage)
    return training_batches(data, config, epoch=position.epoch, size_px=size_px, threads=data.processes)


def _run_epoch(
    config: TrainConfig, data: TrainingData, learner: Learner, position: Position, *, build_s: float
) -> _Epoch:
    """Train and validate the epoch after `position`. Raises DivergedError."""
    batches = _batches(config, data, position)
    trained = learner.train_epoch(batches, position.log_losses)
    batches.close()
    check_finite(trained.loss, "training loss", config, position)
    started = time.perf_counter()
    scores = _validate(learner, data, config.stage_image_size(position.stage))
    check_finite(scores.log_loss, "validation log-loss", config, position)
    seconds = PhaseSeconds(train=trained.seconds, validate=time.perf_counter() - started, build=build_s)
    return _Epoch(trained, scores, seconds, len(data.split.train), learner.trainable_parameters)


def _validate(learner: Learner, data: TrainingData, size_px: int) -> Scores:
    """Scores on the plain validation photos; a log-loss of NaN where a probability is not finite."""
    labels = data.split.validation.labels
    probabilities = learner.probabilities(data.pixels("validation", size_px))
    if not np.isfinite(probabilities).all():
        return Scores(log_loss=float("nan"), accuracy=0.0, macro_f1=0.0)
    return Scores(
        log_loss=float(metrics.log_loss(probabilities, labels)),
        accuracy=float(metrics.accuracy(probabilities, labels)),
        macro_f1=float(metrics.macro_f1(probabilities, labels)),
    )


def _class_counts(data: TrainingData) -> NDArray[np.int64]:
    """Training photos of each class, (classes,)."""
    return np.bincount(data.split.train.labels, minlength=len(data.split.class_names))


def _check_validation(data: TrainingData) -> None:
    if not len(data.split.validation) or not len(data.split.train):
        raise DataError(
            f"a training needs photos to train on and photos to validate on; this split has {len(data.split.train)}"
            f" and {len(data.split.validation)}: change the validation fraction"
        )


def _report(config: TrainConfig, position: Position, epoch: _Epoch, attempt: int) -> EpochReport:
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
        images_per_s=epoch.images / epoch.seconds.train,
        trainable_parameters=epoch.trainable_parameters,
        seconds=epoch.seconds,
        checkpoint=checkpoint_name(attempt, position.epoch),
        best_weights=position.best_so_far.path,
        notes=stopping_note(stage, position),
    )
