"""What accuracy to expect of a search's winner on new photos, from the probabilities that its trials keep."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carcls.errors import DataError, EvidenceError
from carcls.scoring.choices import Kept, scaled
from carcls.scoring.evidence import Evidence, evidence_labels
from carcls.scoring.expectation import Expectation, Trained, luck, of_winner
from search.policy.records import TrialRecord, TrialState, searched
from search.study.checked_files import split_digest
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_split
from search.study.study import Study

_MOST_TRIALS = 40
"""The best of them: those behind win on hardly any sample of the photos."""


@dataclass(frozen=True, slots=True)
class WinnerExpectation:
    """Of the best trial by its value on validation; finals are not asked."""

    number: int
    validated: float
    """Its accuracy on the validation photos, which chose it."""
    expected: Expectation

    @property
    def luck(self) -> float:
        """By how much validation flatters it."""
        return luck(self.validated, self.expected)


def expected_winner(folder: StudyFolder, study: Study, data_root: Path, *, seed: int) -> WinnerExpectation | None:
    """None before a trial has had all its stages, and where trials keep no probabilities, as in older studies, or where
    accuracy ranked them, or where folds validated them, as in recordings: trials then saw different photos."""
    trials = [trial for trial in searched(study.records()) if trial.state is TrialState.COMPLETE and trial.best_rank]
    if not trials or study.rank_by != "log_loss" or any(trial.fold is not None for trial in trials):
        return None
    best = sorted(trials, key=lambda trial: (trial.best_rank, -trial.number), reverse=True)[:_MOST_TRIALS]
    with contextlib.suppress(DataError, EvidenceError):  # a damaged file is named by the commands that need it
        split = read_study_split(folder, data_root, split_digest(study))
        labels = evidence_labels(split.validation.labels, len(split.class_names))
        if len(labels) < 2 or best[0].best is None:
            return None
        trained = [_trained(folder, trial, labels) for trial in best]
        return WinnerExpectation(best[0].number, best[0].best.val_accuracy, of_winner(trained, seed=seed))
    return None


def luck_of_choice(folder: StudyFolder, data_root: Path, *, seed: int, shares: Mapping[int, float]) -> float:
    """How far the search's validation accuracy overstates an average of retrained trials; 0 if unknown.

    shares: of the average, by number of the trial. Only the winner's was chosen for its luck.
    """
    if not shares or not folder.log.exists():
        return 0.0
    found = expected_winner(folder, Study.open(folder.root, read_only=True), data_root, seed=seed)
    return found.luck * shares.get(found.number, 0.0) if found is not None else 0.0


def _trained(folder: StudyFolder, trial: TrialRecord, labels: np.ndarray) -> Trained:
    """Its stages' ends, of which one is kept."""
    ends = [report for report in trial.reports if report.stage_ended]
    said = [Evidence.read(folder.probabilities(trial.number, report.epoch)).validation for report in ends]
    said = [probabilities.astype(np.float64) for probabilities in said]
    epochs = tuple(Kept(True, scaled(probabilities, labels).losses) for probabilities in said)
    return Trained(epochs, np.stack([probabilities.argmax(axis=1) == labels for probabilities in said]))
