"""Trials whose batches went through the model in parts, because there was no room for whole ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from search.policy.records import TrialRecord


@dataclass(frozen=True, slots=True)
class PartsRow:
    """One trial in one stage, with as many photos at once."""

    number: int
    stage_name: str
    image_size: int
    """Side in px."""
    micro_batch: int
    epochs: int
    notes: tuple[str, ...]
    """What the trial's process had to say of it."""


def parts_rows(records: Sequence[TrialRecord]) -> tuple[PartsRow, ...]:
    """In order of trials and epochs; nothing where every batch went whole. Pure."""
    rows = []
    for record in records:
        for (_, photos), group in groupby(record.reports, key=lambda report: (report.stage, report.micro_batch)):
            own = list(group)
            if photos is None:
                continue
            notes = dict.fromkeys(note for report in own for note in report.notes)
            rows.append(PartsRow(record.number, own[0].stage_name, own[0].image_size, photos, len(own), tuple(notes)))
    return tuple(rows)
