"""Whether real studies chose as a replay of their stored probabilities does: python -m benchmarks.replays STUDY...

From the probabilities that a study's trials keep, the rules of `carcls.scoring.choices` are applied once more: the
epoch whose weights each trial keeps, each trial's value, the winner, and the accuracy to expect of it. Probabilities
are stored as float16, so that values may differ in the fourth digit; choices may not. Nothing is trained.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import finish, judge, table
from carcls.scoring.choices import Kept, kept_epoch, scaled
from carcls.scoring.evidence import Evidence, evidence_labels
from search.policy.records import TrialRecord, TrialState
from search.progress.summary import winner
from search.study.expected import expected_winner
from search.study.folder import StudyFolder
from search.study.frozen import open_experiment
from search.study.stored_split import read_study_split
from search.study.study import Study

_MOST_DIFFERENCE = 2e-3
"""Nats between a value as recorded and from float16 probabilities."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One study, as it chose and as the replay does."""

    name: str
    trials: int
    kept_alike: int
    """Trials of which both keep the same epoch's weights."""
    largest_difference: float
    """Of a recorded value, in nats."""
    winner: int
    replayed_winner: int
    validated: float
    expected: float


def replayed(folder: StudyFolder) -> Replayed:
    """Raises StudyError, DataError or EvidenceError where the study, its split or a probability cannot be read."""
    experiment = open_experiment(folder)
    with Study.open(folder.root, read_only=True) as study:
        records = [record for record in study.records() if record.reports]
        split = read_study_split(folder, experiment.data.root, "")
        labels = evidence_labels(split.validation.labels, len(split.class_names))
        again = [_again(folder, record, labels) for record in records]
        expectation = expected_winner(folder, study, experiment.data.root, seed=experiment.search.seed)
    pairs = list(zip(records, again, strict=True))
    whole = [(old, new) for old, new in pairs if old.state is TrialState.COMPLETE]
    return Replayed(
        name=folder.name,
        trials=len(records),
        kept_alike=sum(old.reports[-1].kept_epoch == new.reports[-1].kept_epoch for old, new in pairs),
        largest_difference=max(_difference(old, new) for old, new in pairs),
        winner=winner(records).number,
        replayed_winner=winner(again).number,
        validated=max(old.best.val_accuracy for old, _ in whole if old.best and old.number == winner(records).number),
        expected=expectation.expected.accuracy if expectation else float("nan"),
    )


def _again(folder: StudyFolder, record: TrialRecord, labels: NDArray[np.int64]) -> TrialRecord:
    """The record as the rules make it from the stored probabilities."""
    said = [
        scaled(Evidence.read(folder.probabilities(record.number, report.epoch)).validation.astype(np.float64), labels)
        for report in record.reports
    ]
    kept = [Kept(report.stage_ended, one.losses) for report, one in zip(record.reports, said, strict=True)]
    reports = tuple(
        replace(report, val_scaled_log_loss=one.log_loss, kept_epoch=kept_epoch(kept[: report.epoch]))
        for report, one in zip(record.reports, said, strict=True)
    )
    return replace(record, reports=reports)


def _difference(old: TrialRecord, new: TrialRecord) -> float:
    values = (
        (one.val_scaled_log_loss, other.val_scaled_log_loss)
        for one, other in zip(old.reports, new.reports, strict=True)
    )
    return max(abs(one - other) for one, other in values if one is not None and other is not None)


def main(paths: Sequence[Path]) -> None:
    found = [replayed(StudyFolder(path.resolve())) for path in paths]
    header = (
        "study",
        "trials",
        "same weights",
        "largest difference, nats",
        "winner",
        "replayed",
        "validated",
        "expected",
    )
    rows = [
        (
            one.name,
            one.trials,
            one.kept_alike,
            f"{one.largest_difference:.1e}",
            one.winner,
            one.replayed_winner,
            one.validated,
            one.expected,
        )
        for one in found
    ]
    print(table(header, rows))
    trials = sum(one.trials for one in found)
    alike = sum(one.winner == one.replayed_winner for one in found)
    finish(
        "replays",
        [
            judge("trials with the same weights", ours=sum(one.kept_alike for one in found), peer=trials, target=1.0),
            judge("studies with the same winner", ours=alike, peer=len(found), target=1.0),
            judge(
                "values alike but for float16",
                ours=sum(one.largest_difference < _MOST_DIFFERENCE for one in found),
                peer=len(found),
                target=1.0,
            ),
        ],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="+", type=Path)
    main(parser.parse_args().studies)
