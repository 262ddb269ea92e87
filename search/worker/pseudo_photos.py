"""A training's pseudo-labelled photos: predicted by earlier trainings when it starts, and read when it resumes."""

import gc
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from carcls.config import TrainConfig
from carcls.dataset.table import ImageTable
from carcls.inference.pseudo_labels import agreed, view_names
from carcls.inference.tta import predict_view
from carcls.input.pixels import pixels
from carcls.splits.extra import ExtraPhotos, extra_photos, parse_extra, write_extra
from carcls.store import Store
from carcls.training.fine_tuning import load_best
from carcls.training.steps.feature_batches import feature_batch
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_unlabelled
from search.worker.pseudo_job import PseudoJob

_MOST_AT_ONCE = 32

Tell = Callable[[int, str], None]
"""Sends a line with its level, as in `logging`."""


def pseudo_photos(
    study: StudyFolder,
    number: int,
    job: PseudoJob,
    *,
    data_root: Path,
    config: TrainConfig,
    class_names: tuple[str, ...],
    store: Store,
    processes: int,
    at_once: int | None,
    tell: Tell,
) -> tuple[ExtraPhotos, ImageTable]:
    """The photos with labels on which the job's models agree, and all unlabelled ones, whose pixels they share.

    number: of the training. class_names: the study's. at_once: photos that fit the device's memory, or None for no
    limit. tell: also a sign of life, for many photos in many views take long. Raises DataError for unreadable files,
    CheckpointError if a model's weights are missing or damaged.
    """
    table = read_study_unlabelled(study, Path(job.root) if job.root else data_root, job.digest)
    path = study.pseudo_labels(number)
    if path.exists():
        return parse_extra(path.read_bytes(), path, table.root), table
    predictions, views = [], view_names(job.views)
    for place, (teacher, report) in enumerate(job.teachers, start=1):
        classifier, size_px = load_best(config, study.trial(teacher), report, class_count=len(class_names))
        photos = pixels(table, size_px, store, processes=processes)
        batch_size = min(_MOST_AT_ONCE, feature_batch(size_px, at_once))
        for view in views:
            predictions.append(predict_view(classifier.model, photos, view, batch_size=batch_size))
            tell(logging.DEBUG, f"pseudo-labels: {len(table)} photos are predicted as {view}")
        del classifier
        gc.collect()  # Keras models form reference cycles, and the next one needs the memory
        tell(logging.INFO, f"pseudo-labels: {place} of {len(job.teachers)} models have predicted {len(table)} photos")
    rows, labels = agreed(predictions, job.agreement)
    named = replace(table.select(rows), labels=np.asarray(labels, np.int64))
    found = extra_photos(named, class_names)
    write_extra(found, path)
    return found, table
