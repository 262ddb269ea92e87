"""Virtual time: a queue of scheduled events. No real time passes between two events."""

import heapq
from typing import Generic, TypeVar

Event = TypeVar("Event")


class VirtualClock(Generic[Event]):
    """A queue of events. At equal times, the event scheduled first comes first."""

    def __init__(self) -> None:
        self.now_s = 0.0
        """Seconds since the start, at the latest event."""
        self._queue: list[tuple[float, int, Event]] = []
        self._scheduled = 0

    def __len__(self) -> int:
        return len(self._queue)

    def after(self, delay_s: float, event: Event) -> None:
        """Schedule an event in `delay_s` seconds. Raises ValueError for a negative or infinite delay."""
        if not 0.0 <= delay_s < float("inf"):
            raise ValueError(f"delay_s: expected a finite number of 0 or more, found {delay_s}")
        self._scheduled += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._scheduled, event))

    def advance(self) -> Event:
        """Advance to the next event and return it. Raises IndexError if none is left."""
        self.now_s, _, event = heapq.heappop(self._queue)
        return event
