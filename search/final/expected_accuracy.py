"""What accuracy to expect of the exported model on new photos."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.dataset.loading import load_unlabelled
from carcls.dataset.table import ImageTable
from carcls.errors import DataError, SubmissionError
from carcls.inference.ensemble import Member
from carcls.inference.tta import average, predict_view
from carcls.input.pixels import pixels
from carcls.input.training_data import TrainingData
from carcls.scoring import metrics
from carcls.scoring.averages import of_average
from carcls.scoring.expectation import Expectation, wilson
from carcls.scoring.gains import FEWEST_UNITS
from search.experiment.experiment import Experiment
from search.study.final_scores import Expected
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_unlabelled
from search.study.unseen_answers import UnseenAnswers

_MOST_UNSEEN = 512
"""Photos to predict that are asked for the members' disagreement: enough to know it to a point or two."""


def of_one(accuracy: float, photos: int, *, luck: float) -> Expected:
    """The expectation of one training, validated on the photos that chose the search's winner."""
    expected = max(0.0, accuracy - luck)
    return Expected(expected, *wilson(expected, photos), of="the model")


def of_folds(
    said: NDArray[np.float32],
    labels: NDArray[np.int64],
    unseen: NDArray[np.float32] | None,
    *,
    accuracy: float,
    luck: float,
    search_share: float,
) -> Expected:
    """The expectation of the average of K trainings.

    said: (n, classes) probabilities by the views in use, of each photo by the one model that had not seen it. labels:
    (n,). unseen: (K, m, classes) probabilities of photos that no model has seen, or None. accuracy: of what is said,
    with the views cross-fitted. luck: see `search.study.expected.luck_of_choice`. search_share: the share of the photos
    that the search validated on.
    """
    if unseen is None or unseen.shape[1] < FEWEST_UNITS:
        single = min(1.0, max(0.0, accuracy - search_share * luck))
        return Expected(single, *wilson(single, len(labels)), of="one of its models")
    correction = accuracy - metrics.accuracy(said, labels) - search_share * luck
    found: Expectation = of_average(said, labels, unseen, correction=correction)
    return Expected(found.accuracy, found.low, found.high, of="the model")


def unseen_photos(
    folder: StudyFolder, experiment: Experiment, holdout: ImageTable | None, *, processes: int, has_pseudo: bool
) -> ImageTable | None:
    """The holdout, else the photos to predict that look like no labelled one, or None.

    has_pseudo: whether the models trained on pseudo-labels, which are labels of photos to predict.
    """
    table = holdout or (None if has_pseudo else _photos_to_predict(folder, experiment, processes))
    return table if table is not None and len(table) else None


def unseen_answers(
    folder: StudyFolder,
    experiment: Experiment,
    data: TrainingData,
    members: Sequence[Member],
    views: Sequence[str],
    *,
    batch_size: int,
    has_pseudo: bool,
) -> UnseenAnswers | None:
    """Of each member, by the views in use, for some of `unseen_photos`; None without any."""
    table = unseen_photos(folder, experiment, data.split.holdout, processes=data.processes, has_pseudo=has_pseudo)
    if table is None:
        return None
    rows = np.sort(np.random.default_rng(experiment.search.seed).permutation(len(table))[:_MOST_UNSEEN])
    some = table.select(rows.tolist())
    said = np.stack([_said(member, some, data, views, batch_size) for member in members])
    return UnseenAnswers(some.ids, tuple(views), said)


def _said(
    member: Member, table: ImageTable, data: TrainingData, views: Sequence[str], batch_size: int
) -> NDArray[np.float32]:
    photos = pixels(table, member.size_px, data.store, processes=data.processes)
    model = member.classifier.model
    return average({view: predict_view(model, photos, view, batch_size=batch_size) for view in views}, views)


def _photos_to_predict(folder: StudyFolder, experiment: Experiment, processes: int) -> ImageTable | None:
    """Most models have trained on the twin of a photo that looks like a labelled one, so such photos do not count."""
    root: Path = experiment.data.root
    try:
        listed = set(read_study_unlabelled(folder, root, "").digests)
        found = load_unlabelled(root, processes=processes, layout=experiment.data.layout).photos
    except (DataError, SubmissionError):  # `submit` reports what is wrong; without any, the members' score is reported
        return None
    return found.select([row for row, digest in enumerate(found.digests) if digest in listed])
