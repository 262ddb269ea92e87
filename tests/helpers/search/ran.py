"""The content of a study after a run, and the part of it that is reproducible."""

from dataclasses import dataclass, replace
from pathlib import Path

from carcls.events import EpochReport, PhaseSeconds, StoreUse
from search.policy.records import TrialRecord
from search.study.folder import StudyFolder
from search.study.study import Study

NO_SECONDS = PhaseSeconds(train=0.0, validate=0.0)


@dataclass(frozen=True)
class Ran:
    """A finished command, and the study it ran."""

    cwd: Path
    file: Path
    folder: StudyFolder
    output: str

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        return read_records(self.folder)


def read_records(folder: StudyFolder) -> tuple[TrialRecord, ...]:
    return Study.open(folder.root, read_only=True).records()


def timeless(records: tuple[TrialRecord, ...], *, uninterrupted: bool = True) -> list[TrialRecord]:
    """Without what differs between runs: durations, and which trial built which artefact.

    Where one was interrupted: without which attempt trained it.
    """
    bare = [replace(record, reports=tuple(_timeless(report) for report in record.reports)) for record in records]
    if uninterrupted:
        return bare
    return [
        replace(
            record,
            attempts=0,
            deaths=(),
            fallbacks=(),
            cause=None,
            reports=tuple(
                replace(report, checkpoint=_name(report.checkpoint), best_weights=_name(report.best_weights))
                for report in record.reports
            ),
        )
        for record in bare
    ]


def _timeless(report: EpochReport) -> EpochReport:
    return replace(report, seconds=NO_SECONDS, images_per_s=0.0, store=StoreUse())


def _name(checkpoint: str) -> str:
    return checkpoint.partition("/")[2]
