"""Shows the progress of a search: a live table in a terminal, plain lines elsewhere, and `carsearch status`.

Everything is derived from the study's records, so status after a crash and progress during the run agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

from carcls.events import EpochReport
from search.policy.records import TrialRecord, TrialState
from search.progress.summary import (
    Spent,
    best_line,
    best_text,
    budget_line,
    counts_line,
    ended_count,
    running,
    stage_position,
    state_name,
    status_lines,
    summary_lines,
    winner_line,
)
from search.terminal.formatting import count_text, one_line, params_text
from search.terminal.live_view import LiveView

_NARROW = 64
"""A terminal with fewer columns gets a table without the less important columns."""


def open_progress(console: Console, name: str, known: Sequence[TrialRecord] = ()) -> "LiveProgress | PlainProgress":
    """A context manager with `update(records, spent)`: a live table on an interactive terminal, else plain lines.

    known: records of a resumed study, whose events are not printed again.
    """
    return LiveProgress(console, name) if console.is_interactive else PlainProgress(console, name, known)


class LiveProgress:
    """A table that redraws itself a few times a second, with all other output above it."""

    def __init__(self, console: Console, name: str) -> None:
        self._name = name
        self._view = StatusView(name, (), Spent())
        # The view is rendered in rich's thread, so an update costs the driver one assignment.
        self._live = LiveView(console, lambda: self._view)

    def update(self, records: Sequence[TrialRecord], spent: Spent) -> None:
        """Sets what the next refresh shows."""
        self._view = StatusView(self._name, tuple(records), spent)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.__exit__(kind, error, at)


class PlainProgress:
    """Prints one line per event, for logs, pipes and notebooks."""

    def __init__(self, console: Console, name: str, known: Sequence[TrialRecord] = ()) -> None:
        self._console = console
        self._name = name
        self._records = tuple(known)

    def update(self, records: Sequence[TrialRecord], spent: Spent) -> None:
        """Prints what happened since the last call."""
        before, self._records = self._records, tuple(records)
        changes = _changes(before, self._records)
        for line in event_lines(before, self._records):
            self._print(line)
        if ended_count([new for _, new in changes]) > ended_count([old for old, _ in changes if old]):
            self._print(budget_line(self._records, spent))

    def __enter__(self) -> Self:
        if self._records:
            self._print(f"{self._name}: {counts_line(self._records)}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._print(f"{self._name}: {counts_line(self._records)}; {best_line(self._records)}")
        if winner := winner_line(self._records):
            self._print(winner)

    def _print(self, line: str) -> None:
        _print_line(self._console, line)


def event_lines(before: Sequence[TrialRecord], after: Sequence[TrialRecord]) -> tuple[str, ...]:
    """Lines for the changes between two states of the study's records, trial by trial. Pure."""
    return tuple(
        f"trial {new.number:04d} {event}" for old, new in _changes(before, after) for event in _trial_events(old, new)
    )


def _changes(
    before: Sequence[TrialRecord], after: Sequence[TrialRecord]
) -> list[tuple[TrialRecord | None, TrialRecord]]:
    """Each record that was replaced, with the one before it. A study's records are replaced, never changed."""
    replaced = [new for old, new in zip_longest(before, after) if new is not None and new is not old]
    if not replaced:
        return []
    numbers = {record.number for record in replaced}
    known = {record.number: record for record in before if record.number in numbers}
    return [(known.get(record.number), record) for record in replaced]


def _trial_events(old: TrialRecord | None, new: TrialRecord) -> list[str]:
    seen = len(old.reports) if old else 0
    ends = [_stage_end(report) for report in new.reports[seen:] if report.stage_ended]
    changed = old is None or old.state is not new.state
    return [*_start(old, new), *ends, *(_state_change(new) if changed else [])]


def _start(old: TrialRecord | None, new: TrialRecord) -> list[str]:
    """A segment that started: the trial's first, a promotion, or another attempt after an interruption."""
    if new.attempts == (old.attempts if old else 0):
        return []
    if old is None or old.attempts == 0:
        return [f"started{_role(new)}: {params_text(new.params)}"]
    verb = "promoted to" if old.state is TrialState.PAUSED else "resumed in"
    return [f"{verb} {stage_position(new)}"]


def _role(record: TrialRecord) -> str:
    if record.repeats is not None:
        return f" (repeats trial {record.repeats:04d})"
    return " (baseline)" if record.is_baseline else ""


def _stage_end(report: EpochReport) -> str:
    return (
        f"ended stage {report.stage_name}: validation accuracy {report.val_accuracy:.4f},"
        f" log-loss {report.val_log_loss:.4f}, {count_text(report.stage_epoch, 'epoch')} at {report.image_size} px"
    )


def _state_change(record: TrialRecord) -> list[str]:
    match record.state:
        case TrialState.PAUSED:
            return [f"paused after {count_text(record.fidelity, 'epoch')}"]
        case TrialState.COMPLETE | TrialState.PRUNED:
            return [f"{state_name(record)} after {count_text(record.fidelity, 'epoch')}; {best_text(record)}"]
        case TrialState.FAIL:
            return [f"{state_name(record)}: {one_line(record.cause or 'no cause recorded')}"]
        case TrialState.WAITING if record.attempts:
            return ["was interrupted and waits to resume"]
        case _:
            return []


@dataclass(frozen=True, slots=True)
class StatusView:
    """A rich renderable: summary and running trials, within the console's width and height."""

    name: str
    records: tuple[TrialRecord, ...]
    spent: Spent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = summary_lines(self.name, self.records, self.spent)
        summary = [Text(line, style="bold" if at == 0 else "", no_wrap=True, overflow="ellipsis")
                   for at, line in enumerate(lines)]  # fmt: skip
        busy = running(self.records)
        rows = max(1, (options.height or console.height) - len(lines) - 4)
        yield Group(*summary, *([_running_table(busy, rows, options.max_width)] if busy else []))


def print_status(console: Console, name: str, records: Sequence[TrialRecord], spent: Spent) -> None:
    """Prints the state of a study: a table in a terminal, full lines elsewhere."""
    if console.is_terminal:
        console.print(StatusView(name, tuple(records), spent))
    else:
        for line in status_lines(name, records, spent):
            _print_line(console, line)


def _print_line(console: Console, line: str) -> None:
    # Logs are not wrapped, and text in brackets is no markup.
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _running_table(busy: Sequence[TrialRecord], rows: int, width: int) -> Table:
    wide = width >= _NARROW
    titles = ["trial", "stage", "epoch", "best", *(["images/s", "parameters"] if wide else [])]
    cells = [_running_row(record)[: len(titles)] for record in busy[:rows]]
    table = Table(box=None, pad_edge=False, header_style="dim", expand=False)
    for title in titles:
        side: JustifyMethod = "left" if title in {"stage", "parameters"} else "right"
        # If space is short, rich shrinks the columns that may wrap: here only the parameters.
        table.add_column(title, justify=side, no_wrap=wide and title != "parameters")
    for row in cells:
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    if len(busy) > rows:
        table.add_row(Text("…"), Text(f"{len(busy) - rows} more"))
    return table


def _running_row(record: TrialRecord) -> list[str]:
    best, last = record.best, record.reports[-1] if record.reports else None
    return [
        f"{record.number:04d}",
        stage_position(record),
        str(record.fidelity),
        f"{best.val_accuracy:.4f}" if best else "–",
        f"{last.images_per_s:.0f}" if last else "–",
        ("" if record.repeats is None else f"repeats {record.repeats:04d}: ") + params_text(record.params),
    ]
