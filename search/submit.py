"""The contest's answer: the final model over the test photos, in the sample's order and label coding."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from carcls.data.folds import read_split
from carcls.data.pixels import pixels
from carcls.data.store import Store, default_store_root
from carcls.data.table import load_dataset
from carcls.inference.export import load_model
from carcls.inference.submission import write_submission
from carcls.inference.tta import average, predict_view
from search.errors import StudyError
from search.experiment.experiment import Experiment
from search.folder import StudyFolder


@dataclass(frozen=True, slots=True)
class SubmissionEnd:
    """What was written."""

    rows: int
    fallback_ids: tuple[str, ...]
    """Rows that got the most frequent class, their photos being unreadable or missing."""


def submit(folder: StudyFolder, experiment: Experiment, *, say: Callable[[str], None]) -> SubmissionEnd:
    """Predicts the test photos with the views that retraining chose, and writes `submission.csv`.

    Raises StudyError without a final model or a sample, SubmissionError where the two do not match.
    """
    if not folder.model.exists():
        raise StudyError(f"{folder.root} has no final model yet: run 'carsearch retrain {folder.root}' first")

    processes = len(os.sched_getaffinity(0))
    dataset = load_dataset(experiment.data.root, processes=processes)
    if dataset.sample_submission is None:
        raise StudyError(
            f"{experiment.data.root} has no sample-submission.csv: it names the photos to predict, in order"
        )
    exported = load_model(folder.model)
    store = Store(experiment.store.root or default_store_root())
    say(f"{len(dataset.test)} test photos at {exported.card.size_px} px, views {', '.join(exported.card.tta_views)}")
    test_pixels = pixels(dataset.test, exported.card.size_px, store, processes=processes)
    by_view = {view: predict_view(exported.model, test_pixels, view, batch_size=32) for view in exported.card.tta_views}
    split = read_split(folder.split, experiment.data.root)
    frequent, _ = Counter(split.train.labels.tolist()).most_common(1)[0]
    fallback_ids = write_submission(
        folder.submission,
        sample=dataset.sample_submission,
        probabilities=average(by_view, exported.card.tta_views),
        ids=dataset.test.ids,
        class_names=exported.card.class_names,
        fallback=split.class_names[frequent],
    )
    return SubmissionEnd(rows=len(dataset.test) + len(fallback_ids), fallback_ids=fallback_ids)
