"""Virtual time: what was scheduled comes in order, and between two events nothing passes."""

import heapq
from typing import Generic, TypeVar

Event = TypeVar("Event")


class VirtualClock(Generic[Event]):
    """A queue of events. At equal times, what was scheduled first comes first."""

    def __init__(self) -> None:
        self.now_s = 0.0
        """Seconds since the beginning, as of the event that came last."""
        self._queue: list[tuple[float, int, Event]] = []
        self._scheduled = 0

    def __len__(self) -> int:
        return len(self._queue)

    def after(self, delay_s: float, event: Event) -> None:
        """Schedules an event, that many seconds from now. Raises ValueError for a negative or unending delay."""
        if not 0.0 <= delay_s < float("inf"):
            raise ValueError(f"delay_s: expected a finite number of 0 or more, found {delay_s}")
        self._scheduled += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._scheduled, event))

    def advance(self) -> Event:
        """Moves the time to the next event, and returns it. Raises IndexError where none is left."""
        self.now_s, _, event = heapq.heappop(self._queue)
        return event
