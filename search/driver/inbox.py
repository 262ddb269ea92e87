"""Turns messages of workers into calls of the dispatcher, for every executor."""

from typing import Any, Literal

from carcls.events import EpochReport
from search.driver.dispatch import Dispatcher
from search.terminal.logs import get_logger
from search.worker.segment import Fallback, Granted, Message, Notice, Placed

_log = get_logger(__name__)

Answer = Literal["go on", "stop", "out of time"]
"""What the worker does next. `stop`: end now, without an outcome. `out of time`: end now, with that outcome."""


class Inbox:
    """Records the messages of running segments. Not thread-safe: call it on the dispatcher's thread."""

    def __init__(self, dispatcher: Dispatcher[Any]) -> None:
        self._dispatcher = dispatcher
        self._noticed: set[Notice] = set()

    def take(self, number: int, message: Message) -> Answer:
        """Record one message of a segment, except its outcome, before the worker continues.

        A segment ends by itself at its rung. It is asked to end earlier only after an epoch, if the run stops or its
        hours are used up. Raises what the dispatcher raises.
        """
        match message:
            case EpochReport():
                return self._epoch(number, message)
            case Placed():
                self._dispatcher.placed(number, message.node_id, message.name)
            case Granted():
                self._dispatcher.granted(number, message.gpus)
            case Fallback():
                self._dispatcher.fell_back(number, message.epoch)
            case Notice() if message not in self._noticed:  # All trials of a node may send the same notice.
                self._noticed.add(message)
                _log.log(message.level, "%s", message.text)
        return "go on"

    def _epoch(self, number: int, report: EpochReport) -> Answer:
        # Read before recording: a worker asked to stop after this point has begun its next epoch, and finishes it.
        is_last = self._dispatcher.stopping is not None
        self._dispatcher.report(number, report)
        if is_last:
            return "stop"
        return "out of time" if self._dispatcher.is_out_of_time(number) else "go on"
