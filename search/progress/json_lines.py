"""Progress as JSON: one event a line, for other programs. docs/events.md describes it."""

import json
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from search.policy.records import TrialRecord
from search.progress.search_events import Event, events, search_event
from search.progress.summary import Spent


class EventProgress:
    """Passes every event of a run to a function, on the driver's thread. An error that it raises ends the run."""

    def __init__(
        self, study: str, on_event: Callable[[Event], None], now: Callable[[], str], known: Sequence[TrialRecord] = ()
    ) -> None:
        """now: the time of day as ISO 8601. known: records of a resumed study, which are no news."""
        self._study = study
        self._on_event = on_event
        self._now = now
        self._records = tuple(known)

    def update(self, records: Sequence[TrialRecord], spent: Spent) -> None:
        """Passes on what happened since the last call."""
        del spent
        before, self._records = self._records, tuple(records)
        for event in events(before, self._records, study=self._study, time=self._now()):
            self._on_event(event)

    def __enter__(self) -> Self:
        self._on_event(search_event("search_started", self._records, study=self._study, time=self._now()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._on_event(search_event("search_ended", self._records, study=self._study, time=self._now()))


def json_text(event: Event) -> str:
    """An event as one line of JSON. NaN, which JSON lacks, becomes null. Pure."""
    values = {name: None if value != value else value for name, value in event.to_json().items()}  # noqa: PLR0124
    return json.dumps(values, allow_nan=False)
