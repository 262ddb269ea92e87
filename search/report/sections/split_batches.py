"""The page's section about training runs that split batches into micro-batches, because whole ones did not fit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from carcls.events import EpochReport
from search.policy.records import TrialRecord


@dataclass(frozen=True, slots=True)
class PartsRow:
    """Epochs of one training run and stage with the same micro-batch."""

    number: int | None
    """The trial's number; None for the final training."""
    stage_name: str
    image_size: int | str
    """Side in px."""
    micro_batch: int
    epochs: int
    notes: tuple[str, ...]
    """Notes of the process."""


def parts_rows(records: Sequence[TrialRecord], final: Sequence[EpochReport] = ()) -> tuple[PartsRow, ...]:
    """Rows in order of trials and epochs, with the final training last; empty if no batch was split. Pure."""
    trainings = [*((record.number, record.reports) for record in records), (None, final)]
    return tuple(row for number, reports in trainings for row in _rows_of(number, reports))


def _rows_of(number: int | None, reports: Sequence[EpochReport]) -> Iterator[PartsRow]:
    for (_, photos), group in groupby(reports, key=lambda report: (report.stage, report.micro_batch)):
        own = list(group)
        if photos is None:
            continue
        notes = dict.fromkeys(note for report in own for note in report.notes)
        yield PartsRow(number, own[0].stage_name, own[0].image_size, photos, len(own), tuple(notes))
