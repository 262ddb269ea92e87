"""The recorded trainings on which rules of choice are replayed: scores epoch by epoch, and the probabilities behind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carcls.scoring import metrics
from carcls.scoring.choices import Scaled, scaled
from search.simulator.curves import Curve, read_curves
from search.simulator.evidence_table import read_evidence_table
from search.simulator.record import evidence_path

TABLES = Path(__file__).parent / "tables"

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """The weights after one epoch, by what they say of the validation photos."""

    epoch: int
    """Counted from 1, over all stages."""
    ends_stage: bool
    accuracy: float
    log_loss: float
    scaled: Scaled

    @property
    def rank(self) -> tuple[float, float]:
        """As `EpochReport.rank` where accuracy decides."""
        return (self.accuracy, -self.log_loss)


@dataclass(frozen=True)
class Training:
    """One recorded training."""

    photos: str
    """The data set's name."""
    kind: str
    """`short` or `full`."""
    configuration: int
    """Counted over all tables of one data set and kind."""
    fold: int
    curve: Curve
    validation: Floats
    """(epochs, photos of the fold, classes)"""
    holdout: Mapping[int, Floats]
    """(holdout photos, classes) by epoch, counted from 1, of those that a rule may keep."""
    averages: Mapping[str, tuple[Floats, Floats]]
    """By name, of validation and holdout, after the last epoch."""
    validation_labels: NDArray[np.int64]
    holdout_labels: NDArray[np.int64]

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Its epochs as a rule sees them."""
        return tuple(
            self._candidate(probabilities, epoch=epoch, ends_stage=point.stage_ended)
            for epoch, (probabilities, point) in enumerate(
                zip(self.validation, self.curve.points, strict=True), start=1
            )
        )

    def average(self, name: str) -> Candidate:
        """An average of weights at the training's end, as a rule sees it."""
        validation, _ = self.averages[name]
        return self._candidate(validation, epoch=len(self.validation), ends_stage=True)

    def _candidate(self, probabilities: Floats, *, epoch: int, ends_stage: bool) -> Candidate:
        labels = self.validation_labels
        accuracy, log_loss = (score(probabilities, labels) for score in (metrics.accuracy, metrics.log_loss))
        return Candidate(epoch, ends_stage, accuracy, log_loss, scaled(probabilities, labels))


def load_trainings(folder: Path = TABLES) -> tuple[Training, ...]:
    """All tables of a folder, in order of their names: `<photos>-<kind>-<first configuration>`."""
    return tuple(training for path in sorted(folder.glob("*.jsonl.gz")) for training in _of_table(path))


def _of_table(path: Path) -> Iterator[Training]:
    photos, kind, first = path.name.removesuffix(".jsonl.gz").split("-")
    whole = [curve for curve in read_curves(path) if not curve.infeasible]
    table = read_evidence_table(evidence_path(path))
    numbers: dict[str, int] = {}
    for curve, recorded in zip(whole, table.trainings, strict=True):
        configuration = numbers.setdefault(_identity(curve.params), len(numbers))
        yield Training(
            photos=photos,
            kind=kind,
            configuration=int(first) + configuration,
            fold=recorded.fold,
            curve=curve,
            validation=recorded.validation,
            holdout=recorded.holdout,
            averages=recorded.averages,
            validation_labels=table.validation_labels[recorded.fold],
            holdout_labels=table.holdout_labels,
        )


def _identity(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))


def holdout_scores(answer: Floats, labels: NDArray[np.int64]) -> tuple[float, float]:
    """(accuracy, log-loss)."""
    return metrics.accuracy(answer, labels), metrics.log_loss(answer, labels)
