"""A training's pseudo-labelled photos: predicted by earlier trainings when it starts, and read when it resumes."""

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
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_unlabelled
from search.worker.pseudo_job import PseudoJob

_BATCH_SIZE = 32


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
) -> tuple[ExtraPhotos, ImageTable]:
    """The photos with labels on which the job's models agree, and all unlabelled ones, whose pixels they share.

    number: of the training. class_names: the study's. Raises DataError for unreadable files, CheckpointError if a
    model's weights are missing or damaged.
    """
    table = read_study_unlabelled(study, Path(job.root) if job.root else data_root, job.digest)
    path = study.pseudo_labels(number)
    if path.exists():
        return parse_extra(path.read_bytes(), path, table.root), table
    predictions = []
    for teacher, report in job.teachers:
        classifier, size_px = load_best(config, study.trial(teacher), report, class_count=len(class_names))
        photos = pixels(table, size_px, store, processes=processes)
        for view in view_names(job.views):
            predictions.append(predict_view(classifier.model, photos, view, batch_size=_BATCH_SIZE))
    rows, labels = agreed(predictions, job.agreement)
    named = replace(table.select(rows), labels=np.asarray(labels, np.int64))
    found = extra_photos(named, class_names)
    write_extra(found, path)
    return found, table
