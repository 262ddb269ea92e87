"""The submission: the final model's predictions, in the sample's order and label coding."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.backend import devices
from carcls.dataset.layouts import TEST_FOLDERS, find_test_folder
from carcls.dataset.loading import load_unlabelled
from carcls.dataset.table import Unlabelled
from carcls.frames import size_name
from carcls.inference.export import Card, load_model
from carcls.inference.submission import write_answers, write_submission
from carcls.inference.tta import average, predict_view
from carcls.input.pixels import pixels
from carcls.scoring.ensembles import rescaled
from carcls.splits.split import Split
from carcls.splits.split_files import read_split
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.experiment.node_store import open_store, photos_folder
from search.study.checked_files import check_folder
from search.study.folder import StudyFolder

_BATCH_SIZE = 32
"""Photos that are predicted at once."""


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """What was written."""

    rows: int
    fallback_ids: tuple[str, ...]
    """Rows that got the most frequent class because their photos are unreadable or missing."""


def submit(
    folder: StudyFolder, experiment: Experiment, *, say: Callable[[str], None], model: Path | None = None
) -> SubmissionResult:
    """Predicts the photos with the views that retraining chose, and writes `submission.csv`.

    model: an exported model, such as that of `carsearch ensemble`; None for the final one.

    Rows follow the sample submission if there is one; else every photo has a row, in natural order. Raises StudyError
    without a final model or a readable photo, SubmissionError if sample and model do not match.
    """
    if model is None and not folder.model.exists():
        raise StudyError(f"{folder.root} has no final model yet: run 'carsearch retrain {folder.root}' first")
    processes = len(os.sched_getaffinity(0))
    photos = photos_folder(experiment.photos_at, experiment.store)
    found = load_unlabelled(photos, processes=processes, layout=experiment.data.layout)
    if not len(found.photos):
        raise StudyError(_nothing_to_predict(folder, experiment, found))
    devices.configure_for_prediction()
    exported = load_model(folder.model if model is None else model)
    views = ", ".join(exported.card.tta_views)
    say(f"{len(found.photos)} test photos at {size_name(exported.card.size)} px, views {views}")
    store = open_store(experiment.store)
    test_pixels = pixels(found.photos, exported.card.size, store, processes=processes)
    by_view = {
        view: predict_view(exported.model, test_pixels, view, batch_size=_BATCH_SIZE)
        for view in exported.card.tta_views
    }
    probabilities = rescaled(average(by_view, exported.card.tta_views), exported.card.sharpness)
    split = _split(folder, experiment)
    frequent, _ = Counter(split.train.labels.tolist()).most_common(1)[0]
    fallback_ids = _write(folder, exported.card, found, probabilities, fallback=split.class_names[frequent])
    return SubmissionResult(rows=len(found.photos) + len(fallback_ids), fallback_ids=fallback_ids)


def _split(folder: StudyFolder, experiment: Experiment) -> Split:
    """The split of the study or the fixed recipe. Raises StudyError if it was changed."""
    check_folder(folder)
    return read_split(folder.split, experiment.data.root)


def _write(
    folder: StudyFolder, card: Card, found: Unlabelled, probabilities: NDArray[np.float32], *, fallback: str
) -> tuple[str, ...]:
    if found.sample_submission is None:
        return write_answers(
            folder.submission,
            asked=found.ids,
            probabilities=probabilities,
            ids=found.photos.ids,
            class_names=card.class_names,
            fallback=fallback,
        )
    return write_submission(
        folder.submission,
        sample=found.sample_submission,
        probabilities=probabilities,
        ids=found.photos.ids,
        class_names=card.class_names,
        fallback=fallback,
    )


def _nothing_to_predict(folder: StudyFolder, experiment: Experiment, found: Unlabelled) -> str:
    """One line, even with thousands of unreadable photos."""
    root, layout = experiment.data.root, experiment.data.layout
    place = find_test_folder(root, layout) or root / TEST_FOLDERS[0]
    if found.quarantined:
        first = found.quarantined[0]
        return (
            f"{place}: none of {len(found.quarantined):,} photos can be read; the first is {first.path}: {first.reason}"
        )
    return (
        f"no photos to predict: put them into {place}, or predict any folder with"
        f" 'carsearch predict {folder.model} FOLDER'"
    )
