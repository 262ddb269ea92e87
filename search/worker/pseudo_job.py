"""How a training makes its pseudo-labels: plain values that travel with its segment."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from carcls.events import EpochReport
from search.experiment.settings import DataSettings
from search.study.checked_files import unlabelled_digest
from search.study.final_members import teachers, trains_on_pseudo
from search.study.study import Study


@dataclass(frozen=True, slots=True)
class PseudoJob:
    """Which models label which photos."""

    root: str
    """Folder that the paths of the unlabelled photos are relative to; empty for the data folder, which may be elsewhere
    on each node."""
    digest: str
    """Expected digest of the study's unlabelled.csv."""
    agreement: float
    views: int
    teachers: tuple[tuple[int, EpochReport], ...]
    """Number and last epoch of the trainings whose kept weights predict."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`."""
        models = tuple((number, EpochReport.from_json(report)) for number, report in values["teachers"])
        return cls(**{**values, "teachers": models})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "teachers": [[number, report.to_json()] for number, report in self.teachers]}


def pseudo_job(study: Study, data: DataSettings, number: int) -> dict[str, Any]:
    """The job of a training of a final study as JSON; empty if it has no pseudo-labels."""
    if data.pseudo is None or not trains_on_pseudo(study, number):
        return {}
    root = "" if data.test is None or data.test.parent == data.root else str(data.test)
    models = tuple((record.number, record.reports[-1]) for record in teachers(study, number))
    return PseudoJob(root, unlabelled_digest(study), data.pseudo.agreement, data.pseudo.views, models).to_json()
