"""What a study's best model said of photos that it did not train on, read from its files."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carcls.dataset.table import ImageTable
from carcls.errors import DataError, EvidenceError
from carcls.scoring.evidence import UNREADABLE, Evidence, sampled_rows
from carcls.splits.k_folds import read_folds
from search.policy.records import TrialRecord
from search.study.checked_files import split_digest
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_split
from search.study.study import Study

_UNREADABLE = (DataError, EvidenceError, *UNREADABLE)


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Probabilities of photos that the model did not train on; n >= 1."""

    of: str
    """Whose predictions, as a phrase: `the final training's models, out-of-fold`."""
    root: Path
    """The data folder."""
    paths: tuple[str, ...]
    """(n,) relative to `root`."""
    labels: NDArray[np.int64]
    """(n,)"""
    class_names: tuple[str, ...]
    probabilities: NDArray[np.float64]
    """(n, classes), without TTA."""


def read_predictions(
    folder: StudyFolder, study: Study | None, best: TrialRecord | None, data_root: Path
) -> Predictions | None:
    """Those of the final training on folds if there is one, else those of trial `best` at its best epoch.

    None if neither kept any, as in older studies, or if a file is damaged: what needs it says so.
    """
    final = final_predictions(folder, data_root)
    if final is not None:
        return final
    with contextlib.suppress(*_UNREADABLE):
        if study is not None and best is not None:
            return trial_predictions(folder, study, best, data_root)
    return None


def final_predictions(folder: StudyFolder, data_root: Path) -> Predictions | None:
    """Those of the final training on folds, or None if there is none or a file is damaged."""
    with contextlib.suppress(*_UNREADABLE):
        if folder.out_of_fold.exists() and folder.scores.exists():
            return _out_of_fold(folder, data_root)
    return None


def trial_predictions(folder: StudyFolder, study: Study, trial: TrialRecord, data_root: Path) -> Predictions | None:
    """A trial's predictions for its validation photos at its best epoch, or None without an epoch.

    Raises DataError or EvidenceError if a file is missing or damaged.
    """
    if trial.best is None:
        return None
    split = read_study_split(folder, data_root, split_digest(study, of_folds=trial.fold is not None), fold=trial.fold)
    evidence = Evidence.read(folder.probabilities(trial.number, trial.best.epoch))
    table, class_count = split.validation, len(split.class_names)
    rows = sampled_rows(table.labels, class_count)
    chosen = table if rows is None else table.select(rows)
    return _predictions(f"trial {trial.number:04d}", chosen, split.class_names, evidence.validation)


def _out_of_fold(folder: StudyFolder, data_root: Path) -> Predictions:
    folds = read_folds(folder.retrain_study.folds, data_root)
    tables = [folds.split(number).validation for number in range(folds.count)]
    photos = ImageTable(
        root=data_root,
        ids=tuple(one for table in tables for one in table.ids),
        paths=tuple(one for table in tables for one in table.paths),
        labels=np.concatenate([table.labels for table in tables]),
        digests=tuple(one for table in tables for one in table.digests),
    )
    with np.load(folder.out_of_fold, allow_pickle=False) as arrays:
        if arrays["ids"].tolist() != list(photos.ids):
            raise DataError(f"{folder.out_of_fold}: its photos are not those of {folder.retrain_study.folds}")
        probabilities = arrays["view/plain"]
    return _predictions(f"{folds.count} final models, out-of-fold", photos, folds.class_names, probabilities)


def _predictions(
    of: str, photos: ImageTable, class_names: tuple[str, ...], probabilities: NDArray[np.floating]
) -> Predictions:
    if probabilities.shape != (len(photos), len(class_names)) or not len(photos):
        raise DataError(f"probabilities {probabilities.shape} do not match {len(photos)} photos")
    return Predictions(of, photos.root, photos.paths, photos.labels, class_names, probabilities.astype(np.float64))
