"""The page's section about time: by phase, and saved by the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from carcls.events import EpochReport
from search.policy.records import TrialRecord, trained_s
from search.progress.summary import store_text, store_use

_PHASES = {
    "train": "Training steps",
    "validate": "Validation",
    "trace": "Tracing",
    "build": "Building models",
    "store": "Store",
    "data_wait": "Waiting for batches",
    "holdout": "Holdout",
}
"""The page's label for each field of PhaseSeconds."""


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """Time that one training run, or all trials together, spent in one phase."""

    seconds: float
    share: float
    """Of all phases."""


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One phase, with a cell for each column of the table."""

    name: str
    cells: tuple[PhaseTime, ...]


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """The table, and the lines below it."""

    columns: tuple[str, ...]
    totals_s: tuple[float, ...]
    phases: tuple[PhaseRow, ...]
    """Only phases with any time."""
    store_lines: tuple[str, ...]


def time_spent(
    records: Sequence[TrialRecord], best: TrialRecord | None, final: Sequence[EpochReport]
) -> TimeSpent | None:
    """A column each for all trials, the winner, and the final training, if they have epochs; else None. Pure.

    final: the epochs of the final training.
    """
    trials = [report for record in records for report in record.reports]
    named = {"All trials": trials, "Winner": best.reports if best else (), "Final training": final}
    totals_s = {name: total_s for name, reports in named.items() if (total_s := trained_s(reports))}
    if not totals_s:
        return None
    rows = (
        PhaseRow(label, tuple(_spent(phase, named[name], total_s) for name, total_s in totals_s.items()))
        for phase, label in _PHASES.items()
    )
    uses = {"Store, all trials": trials, "Store, final training": final}
    texts = {name: store_text(store_use(own)) for name, own in uses.items()}
    return TimeSpent(
        columns=tuple(totals_s),
        totals_s=tuple(totals_s.values()),
        phases=tuple(row for row in rows if any(cell.seconds for cell in row.cells)),
        store_lines=tuple(f"{name}: {text}." for name, text in texts.items() if text),
    )


def _spent(phase: str, reports: Sequence[EpochReport], total_s: float) -> PhaseTime:
    seconds = sum(map(attrgetter(f"seconds.{phase}"), reports))
    return PhaseTime(seconds, seconds / total_s)
