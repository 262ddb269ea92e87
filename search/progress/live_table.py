"""Shows the progress of a search: a live table in a terminal, plain lines elsewhere, and `carsearch status`.

Everything is derived from the study's records, so status after a crash and progress during the run agree.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console

from search.policy.records import TrialRecord
from search.progress.search_events import change_lines, changes, event_lines
from search.progress.status_view import StatusView
from search.progress.summary import (
    Spent,
    best_line,
    budget_line,
    counts_line,
    ended_count,
    status_lines,
    winner_line,
)
from search.terminal.live_view import LiveView

_KEPT_EVENTS = 10
_HEIGHT_SHARE = 0.5
"""Of the terminal, for the live view; log lines are above it."""


def _now() -> datetime:
    return datetime.now(UTC).astimezone()


def open_progress(console: Console, name: str, known: Sequence[TrialRecord] = ()) -> "LiveProgress | PlainProgress":
    """A context manager with `update(records, spent)`: a live table on an interactive terminal, else plain lines.

    known: records of a resumed study, whose events are not printed again.
    """
    return LiveProgress(console, name, known) if console.is_interactive else PlainProgress(console, name, known)


class LiveProgress:
    """A table that redraws itself a few times a second, with all other output above it."""

    def __init__(
        self,
        console: Console,
        name: str,
        known: Sequence[TrialRecord] = (),
        *,
        clock: Callable[[], datetime] | None = _now,
    ) -> None:
        """clock: the time of day, for the expected end; None leaves that out."""
        self._name = name
        self._clock = clock
        self._recent: deque[str] = deque(maxlen=_KEPT_EVENTS)
        self._view = StatusView(name, tuple(known), Spent())
        # The view is rendered in rich's thread, so an update costs the driver one assignment.
        self._live = LiveView(console, lambda: self._view)

    def update(self, records: Sequence[TrialRecord], spent: Spent) -> None:
        """Sets what the next refresh shows."""
        self._recent.extend(event_lines(self._view.records, records))
        now = self._clock() if self._clock else None
        self._view = StatusView(self._name, tuple(records), spent, tuple(self._recent), now, _HEIGHT_SHARE)

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
        changed = changes(before, self._records)
        for line in change_lines(changed):
            self._print(line)
        if ended_count([new for _, new in changed]) > ended_count([old for old, _ in changed if old]):
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
