"""A search as an iterator of its events, for a loop in a script or notebook."""

import queue
import threading
from collections.abc import Callable, Iterator

from search.progress.search_events import Event

OnEvent = Callable[[Event], None]


class _LeftError(Exception):
    """The loop over the events is over, so the search ends."""


def streamed(work: Callable[[OnEvent], object]) -> Iterator[Event]:
    """Runs `work` in a thread of its own, and yields the events that it passes to its argument.

    Nothing starts before the first event is asked for. Errors of `work` are raised from the loop. Leaving the loop, by
    `break` or an error, ends `work` at its next event, and waits for that.
    """
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    left = threading.Event()
    errors: list[BaseException] = []

    def pass_on(event: Event) -> None:
        if left.is_set():
            raise _LeftError
        events.put(event)

    def run() -> None:
        try:
            work(pass_on)
        except BaseException as error:  # noqa: BLE001 - raised from the loop
            errors.append(error)
        finally:
            events.put(None)

    thread = threading.Thread(target=run, name="search")
    thread.start()
    try:
        while (event := events.get()) is not None:
            yield event
    finally:
        left.set()
        thread.join()
    if errors:
        raise errors[0]
