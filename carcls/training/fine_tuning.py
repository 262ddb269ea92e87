"""One training from its first stage to its last, see `fine_tune`."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.backend.replicas import can_accumulate, replica_count
from carcls.config import RankBy, TrainConfig
from carcls.errors import CheckpointError, ConfigError, DataError
from carcls.events import EpochReport
from carcls.frames import Size, named_size
from carcls.input.epoch_plan import batch_count
from carcls.input.feeder import Feeder
from carcls.input.training_data import TrainingData
from carcls.models.classifier import Classifier, build_classifier
from carcls.models.weights import resolve_weights
from carcls.scoring.choices import Scaled
from carcls.store import take_use
from carcls.training.checkpoint import load_state, model_variables
from carcls.training.epoch import Epoch, run_epoch
from carcls.training.epoch_files import Progress, load_progress, save_progress
from carcls.training.epoch_parts import NOT_BEGUN, BegunEpoch, Parts, Pauses
from carcls.training.features import FrozenBackbone, backbone_identity
from carcls.training.initial_weights import InitialWeights, read_omitted
from carcls.training.learner import Learner
from carcls.training.part_files import PartWriter, load_part
from carcls.training.position import Position, stopping_note
from carcls.training.retention import best_name, checkpoint_name, trial_file
from carcls.training.stage_errors import naming_out_of_memory
from carcls.training.stage_input import FeatureInput, PixelInput, StageInput, why_not_shared
from carcls.training.steps.constant_batches import stage_fill
from carcls.training.steps.micro_batches import Accumulation, MicroBatch, accumulation, memory_notes


def fine_tune(
    config: TrainConfig,
    data: TrainingData,
    on_epoch: Callable[[EpochReport], None],
    *,
    folder: Path,
    attempt: int = 0,
    resume: str | None = None,
    stop_after_stage: int | None = None,
    micro_batch: MicroBatch = None,
    rank_by: RankBy = "log_loss",
    averages: bool = False,
    without_validation: bool = False,
    part: str | None = None,
    pauses: Pauses | None = None,
) -> None:
    """Trains a classifier through the stages of `config`. Calls `on_epoch` once an epoch's checkpoint is on disk.

    Writes only to `folder`/attempt-<attempt>/ and deletes nothing. `resume` is a checkpoint relative to `folder`, such
    as 'attempt-0/epoch-0003.npz', after which the training continues; on the same machine its results are the same as
    without the interruption. `stop_after_stage` (from 0): returns when that stage has ended, or at once if it already
    had.

    `micro_batch`: photos per forward pass if the device lacks memory for whole batches; a sequence has one value per
    stage. A batch is then split into parts whose gradients are weighted by their size, and is still one optimizer step.
    The training is the same up to rounding, unless BatchNorm trains or dropout is used: these see parts instead of
    batches, so it is equal only in expectation. The value may differ between attempts.

    `averages`: also record the last epoch's evidence for averages of its stage's weights, see `WeightAverages`. Nothing
    else changes. After an interruption within that stage, they cover only what came after it.

    Early stopping ends a stage, never the training. The kept weights, with the image size of their validation, are
    those of the last stage whose end is as good as earlier ones, see `choices.replaces`; with `rank_by` "accuracy",
    those of the most accurate epoch. Holdout photos are scored after each epoch, but nothing depends on it.

    `without_validation`: the split has no validation photos, as every photo trains. All validation scores are then NaN,
    and the weights of the last epoch are kept.

    `pauses`: when the state is saved within an epoch, in one file per epoch. If one was asked for, training ends with
    HandedOverError. `part`: the file from which to continue, see `part_after`; its batches must have been filled as
    they are now, see `stage_batches`. On the same machine the epoch's results are the same as without the interruption.
    On TensorFlow with several GPUs nothing is saved within epochs.

    Raises WeightsError, CheckpointError and DataError before any training, ConfigError if a stage needs validation that
    there is not, ValueError for an invalid micro-batch, DivergedError if a loss is no longer finite, HandedOverError
    after a pause that was asked for, and OutOfMemoryError, which names the stage, if the device lacks memory.
    Exceptions of `on_epoch` pass through.
    """
    saved, begun = _saved(config, folder, resume, part)
    position = Position() if saved is None else saved.position
    weights, started_with = _starting_weights(config, saved)
    _check_parts(data, without_validation)
    if without_validation:
        _check_fixed(config)
    learner = Learner(config, class_counts=class_counts(data), weights=weights)
    last_stage = len(config.stages) - 1 if stop_after_stage is None else stop_after_stage
    take_use()  # discards what this process did before the first epoch
    pauses = pauses if pauses is not None and can_pause() else Pauses()
    writer, after = PartWriter(config, folder, attempt, started_with), resume

    with Feeder(config, cores=data.processes, batch_server=data.batch_server) as feeder:
        for number in range(position.next_stage, last_stage + 1):
            position, photo_count = position.entering(number), len(data.split.train)
            cut, fill = stage_batches(config, number, micro_batch, photos=photo_count)
            at_once = None if cut is None else cut.micro_batch
            with naming_out_of_memory(config, number, at_once):
                started = time.perf_counter()
                steps_per_epoch = batch_count(photo_count, config.stage_batch_size(number))
                learner.enter_stage(number, steps_per_epoch=steps_per_epoch, cut=cut, fill=fill, averages=averages)
                if saved is not None:
                    with_optimizer = position.stage_epoch > 0 or begun.batches > 0
                    learner.restore(saved.arrays, with_optimizer=with_optimizer, left_out=saved.left_out)
                    saved = None
                backbone = started_with if learner.has_initial_backbone else None
                photos = stage_input(
                    config, data, learner, number=number, backbone=backbone, feeder=feeder, at_once=at_once
                )
                build_s = time.perf_counter() - started

            while not position.stage_ended:
                save_part = partial(writer.save, learner, position, after=after)
                parts = Parts(pauses, save_part, begun)
                with naming_out_of_memory(config, number, at_once):
                    epoch = run_epoch(config, learner, photos, data.split, position, build_s=build_s, parts=parts)
                begun = NOT_BEGUN
                compared = epoch.scaled if rank_by == "log_loss" else None
                scores = None if without_validation else epoch.scores
                position = position.after_epoch(config, scores, compared, attempt=attempt)
                if position.stage_ended:
                    learner.stage.end()
                save_progress(config, learner, position, weights=started_with, folder=folder, attempt=attempt)
                after = checkpoint_name(attempt, position.epoch)
                notes = memory_notes(config, number, cut, learner.stage.has_random_layers) if build_s else ()
                on_epoch(
                    _report(config, data, position, epoch, attempt, compared=compared, at_once=at_once, notes=notes)
                )
                build_s = 0.0


def _saved(
    config: TrainConfig, folder: Path, resume: str | None, part: str | None
) -> tuple[Progress | None, BegunEpoch]:
    """What the training continues from: a part of an epoch, or else a checkpoint, or nothing."""
    if part is not None:
        return load_part(config, folder, part)
    return None if resume is None else load_progress(config, folder, resume), NOT_BEGUN


def stage_batches(
    config: TrainConfig, stage: int, micro_batch: MicroBatch, *, photos: int
) -> tuple[Accumulation | None, int | None]:
    """How the batches of a stage are split, or None; and the size to which they or their parts are filled, or None.

    photos: number of training photos. Raises ValueError for an invalid micro-batch.
    """
    cut = accumulation(micro_batch, config, stage, photos=photos)
    return cut, stage_fill(config, stage, cut, photos=photos, devices=replica_count())


def can_pause() -> bool:
    """Whether the state within an epoch can be saved here. TensorFlow's running metrics on several GPUs cannot."""
    return replica_count() == 1 or can_accumulate()


def load_best(config: TrainConfig, folder: Path, report: EpochReport, *, class_count: int) -> tuple[Classifier, Size]:
    """The classifier with the best weights that a report refers to, and the image size of their validation.

    The model is fully trainable and not compiled. Raises CheckpointError if the file is missing, damaged, or belongs to
    another model.
    """
    path = trial_file(folder, report.best_weights)
    arrays, meta = load_state(path)
    size_px = named_size(meta.get("image_size"), config.fit)
    if size_px is None:
        raise CheckpointError(f"{path} does not have an image size; expected best weights such as {best_name(0, 3)!r}")
    started_with, left_out = read_omitted(meta)
    weights = None if started_with is None else _same_weights(config, started_with, path)
    classifier = build_classifier(config, size_px=size_px, class_count=class_count, weights=weights)
    InitialWeights(classifier).restore(model_variables(classifier.model), arrays, left_out)
    return classifier, size_px


def _starting_weights(config: TrainConfig, saved: Progress | None) -> tuple[Path | None, str | None]:
    """The weights file to load, if any, and the identity of the backbone's initial weights."""
    if saved is not None:
        if saved.weights is None:  # the checkpoint has all weights, so the file may be missing
            return None, None
        return _same_weights(config, saved.weights, saved.path), saved.weights
    weights = resolve_weights(config)
    return weights, backbone_identity(config, weights)


def _same_weights(config: TrainConfig, started_with: str, path: Path) -> Path | None:
    """The file that a checkpoint's training started from. Raises CheckpointError if its content has changed."""
    weights = resolve_weights(config)
    if backbone_identity(config, weights) != started_with:
        raise CheckpointError(
            f"{path} was made with other weights than {weights or 'these random ones'} has now:"
            " restore the original file, or start a new training"
        )
    return weights


def stage_input(
    config: TrainConfig,
    data: TrainingData,
    learner: Learner,
    *,
    number: int,
    backbone: str | None,
    feeder: Feeder,
    at_once: int | None,
) -> StageInput:
    """The input of the learner's current stage, `number`.

    backbone: identity of the backbone's initial weights, or None if they have changed. at_once: the most photos that
    fit the device's memory, or None for no limit.
    """
    size_px, batch_size = config.stage_size(number), config.stage_batch_size(number)
    if not learner.is_frozen:
        return PixelInput(config, data, size_px, feeder, batch_size)
    frozen = FrozenBackbone(learner.features, learner.feature_count, size_px, backbone, at_once)
    return FeatureInput(config, data, frozen, feeder, batch_size)


def class_counts(data: TrainingData) -> NDArray[np.int64]:
    """Number of training photos per class, (classes,)."""
    return np.bincount(data.split.train.labels, minlength=len(data.split.class_names))


def _check_fixed(config: TrainConfig) -> None:
    """Raises ConfigError if a stage's length or rates depend on validation."""
    for stage in config.stages:
        schedule = stage.schedule
        if stage.early_stopping is not None or (schedule.kind == "plateau" and schedule.drops is None):
            what = "early_stopping" if stage.early_stopping is not None else "a plateau schedule without drops"
            raise ConfigError(f"stage {stage.name!r}: {what} needs validation photos, but every photo trains")


def _check_parts(data: TrainingData, without_validation: bool) -> None:
    if without_validation and len(data.split.validation):
        raise DataError(f"this split has {len(data.split.validation)} validation photos; expected none")
    if not len(data.split.train) or (not without_validation and not len(data.split.validation)):
        raise DataError(
            f"fine-tuning needs training and validation photos; this split has {len(data.split.train)}"
            f" and {len(data.split.validation)}: change the validation fraction"
        )
    if data.split.holdout is not None and not len(data.split.holdout):
        raise DataError("the holdout part of this split has no photos: expected some, or None instead")


def _report(
    config: TrainConfig,
    data: TrainingData,
    position: Position,
    epoch: Epoch,
    attempt: int,
    *,
    compared: Scaled | None,
    at_once: int | None,
    notes: tuple[str, ...],
) -> EpochReport:
    """The report of an epoch. position: after the epoch."""
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
        holdout_log_loss=None if epoch.holdout is None else epoch.holdout.log_loss,
        holdout_accuracy=None if epoch.holdout is None else epoch.holdout.accuracy,
        learning_rate=epoch.trained.learning_rate,
        image_size=config.stage_image_size(position.stage),
        images_per_s=len(data.split.train) / epoch.seconds.train,
        trainable_parameters=epoch.trainable_parameters,
        seconds=epoch.seconds,
        checkpoint=checkpoint_name(attempt, position.epoch),
        best_weights=position.best_so_far.path,
        notes=(*notes, *_feature_note(config, position), *stopping_note(stage, position)),
        store=epoch.store,
        micro_batch=at_once,
        val_scaled_log_loss=None if compared is None else compared.log_loss,
        kept_epoch=None if compared is None and len(data.split.validation) else position.best_so_far.epoch,
        evidence=epoch.evidence,
    )


def _feature_note(config: TrainConfig, position: Position) -> tuple[str, ...]:
    """Remark on the first epoch of a frozen stage whose features cannot be stored; empty otherwise."""
    reason = why_not_shared(config)
    is_told_now = config.stages[position.stage].unfreeze == 0.0 and position.stage_epoch == 1
    return (reason,) if reason is not None and is_told_now else ()
