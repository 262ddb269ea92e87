"""The state of a search on one screen, in a fixed order: summary, budget, ladder, workers, events, failures, others.

Everything is derived from the study's records, so status after a crash and progress during the run agree.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from search.policy.records import TrialRecord, TrialState, searched
from search.progress.ladder import ladder_rows
from search.progress.summary import (
    Spent,
    running,
    seconds_left,
    stage_position,
    state_name,
    summary_lines,
    worker_seconds_left,
)
from search.terminal.formatting import duration_text, one_line, params_text
from search.terminal.sparkline import sparkline

_NARROW = 64
"""A terminal with fewer columns gets tables without the less important columns."""
_EVENTS = 4
"""Latest events shown, if there is room."""
_SPARKS = 24
_LADDER_ROWS = 6
_OTHERS = 12
"""Trials shown that are not running, at most: lines that are printed above the view need room too."""
_FAILURE_WORDS = 60


@dataclass(frozen=True, slots=True)
class StatusView:
    """A rich renderable within the console's width and height."""

    name: str
    records: tuple[TrialRecord, ...]
    spent: Spent
    recent: tuple[str, ...] = ()
    """The latest events, the last one last."""
    at: datetime | None = None
    """The time of day, for the expected end; None leaves that out."""
    height_share: float = 1.0
    """Share of the console's height to use at most; the rest is for lines printed above."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, rows = options.max_width, _rows(options.height or console.height, self.height_share)
        parts: list[RenderableType] = []
        for part, taken in self._parts(rows, width):
            parts.append(part)
            rows -= taken
        yield Group(*parts)

    def _parts(self, rows: int, width: int) -> Iterator[tuple[RenderableType, int]]:
        """Each part with its number of lines, as long as there is room."""
        summary = [_line(text, bold=at == 0) for at, text in enumerate(self._summary())]
        yield Group(*summary), len(summary)
        rows -= len(summary)
        busy = running(self.records)
        if busy:
            shown = max(1, min(len(busy), rows - 2))
            yield _running_table(busy, shown, width, self.spent), shown + 1 + (len(busy) > shown)
            rows -= shown + 1 + (len(busy) > shown)
        ladder = ladder_rows(self.records)
        if 0 < len(ladder) <= min(_LADDER_ROWS, rows - 1):
            yield _ladder_table(ladder), len(ladder) + 1
            rows -= len(ladder) + 1
        for lines in (self.recent[-_EVENTS:], failure_lines(self.records)):
            if lines and len(lines) <= rows:
                yield Group(*(_line(text, dim=True) for text in lines)), len(lines)
                rows -= len(lines)
        others = _others(self.records)
        shown = min(len(others), _OTHERS, rows - 1)
        if shown > 0:
            yield _others_table(others, shown, width), shown

    def _summary(self) -> Iterator[str]:
        lines = summary_lines(self.name, self.records, self.spent)
        best = sparkline(best_so_far(self.records)[-_SPARKS:])
        for line in lines:
            yield f"{line}  {best}" if best and line.startswith("best: ") else line
        left = seconds_left(self.records, self.spent)
        if self.at is not None and left:
            end = self.at + timedelta(seconds=left)
            yield f"expected end: {end:%H:%M}{'' if end.date() == self.at.date() else end.strftime(' on %Y-%m-%d')}"


def _rows(height: int, share: float) -> int:
    return max(6, min(height - 1, round(height * share)))


def best_so_far(records: Sequence[TrialRecord]) -> list[float]:
    """Best validation accuracy of the first one, two, ... trials with an epoch, in the order of their numbers. Pure."""
    found: list[float] = []
    for record in searched(records):
        if record.best and record.state is not TrialState.FAIL:
            found.append(max([record.best.val_accuracy, *found[-1:]]))
    return found


def failure_lines(records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """One line with the number of failed trials for each reason; empty without one. Pure."""
    counts = Counter(_reason(record) for record in records if record.state is TrialState.FAIL)
    if not counts:
        return ()
    return ("failures: " + "; ".join(f"{count} × {reason}" for reason, count in counts.most_common()),)


def _reason(record: TrialRecord) -> str:
    """The beginning of a failure's cause, so that those of one kind are equal."""
    return one_line(record.cause or "no cause recorded").partition(":")[0][:_FAILURE_WORDS]


def _line(text: str, *, bold: bool = False, dim: bool = False) -> Text:
    return Text(text, style="bold" if bold else "dim" if dim else "", no_wrap=True, overflow="ellipsis")


def _others(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials with an epoch that are not running: the best first."""
    there = [record for record in records if record.state is not TrialState.RUNNING and record.best_rank]
    return sorted(there, key=lambda record: (record.best_rank or (0.0, 0.0), -record.number), reverse=True)


def _table(titles: Sequence[str], *, left: frozenset[str], wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=False, show_header=any(titles))
    for title in titles:
        # If space is short, rich shrinks the columns that may wrap: here only the parameters.
        table.add_column(
            title, justify="left" if title in left else "right", no_wrap=wide and title not in ("parameters", "")
        )
    return table


def _add(table: Table, cells: Sequence[str]) -> None:
    table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))


def _running_table(busy: Sequence[TrialRecord], rows: int, width: int, spent: Spent) -> Table:
    wide = width >= _NARROW
    titles = ["trial", "stage", "epoch", "best", *(["images/s", "left", "parameters"] if wide else [])]
    table = _table(titles, left=frozenset({"stage", "parameters"}), wide=wide)
    for record in busy[:rows]:
        _add(table, _running_row(record, spent)[: len(titles)])
    if len(busy) > rows:
        table.add_row(Text("…"), Text(f"{len(busy) - rows} more"))
    return table


def _running_row(record: TrialRecord, spent: Spent) -> list[str]:
    best, last = record.best, record.reports[-1] if record.reports else None
    left = worker_seconds_left(record, spent.planned.get(record.number, ()))
    return [
        f"{record.number:04d}",
        stage_position(record),
        str(record.fidelity),
        f"{best.val_accuracy:.4f}" if best else "–",
        f"{last.images_per_s:.0f}" if last else "–",
        duration_text(left) if left is not None else "–",
        ("" if record.repeats is None else f"repeats {record.repeats:04d}: ") + params_text(record.params),
    ]


def _ladder_table(rows: Sequence[tuple[str, ...]]) -> Table:
    table = _table(["rung", "running", "paused", "passed", "best there"], left=frozenset({"rung"}), wide=True)
    for row in rows:
        _add(table, row)
    return table


def _others_table(others: Sequence[TrialRecord], rows: int, width: int) -> Table:
    """Without a heading: number, state, epochs, best accuracy, parameters."""
    table = Table(box=None, pad_edge=False, show_header=False, expand=False, style="dim")
    wide = width >= _NARROW
    for number in range(5 if wide else 4):
        table.add_column(justify="left" if number in (1, 4) else "right", no_wrap=wide and number < 4)
    cut = len(others) > rows
    for record in others[: rows - cut]:
        cells = [
            f"{record.number:04d}",
            state_name(record),
            str(record.fidelity),
            f"{record.best.val_accuracy:.4f}" if record.best else "–",
            params_text(record.params),
        ]
        _add(table, cells[: len(table.columns)])
    if cut:
        table.add_row(Text("…"), Text(f"{len(others) - rows + 1} more"))
    return table
