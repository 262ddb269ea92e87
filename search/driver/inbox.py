"""Messages of workers, turned into calls of the dispatcher: one place for every executor."""

from typing import Any, Literal

from carcls.events import EpochReport
from search.driver.dispatch import Dispatcher
from search.terminal.logs import get_logger
from search.worker.segment import Fallback, Message, Notice

_log = get_logger(__name__)

Answer = Literal["go on", "stop", "out of time"]
"""What its worker does next. `stop`: end now, and nothing has become of the segment. `out of time`: end now, with that
outcome."""


class Inbox:
    """Records the messages of running segments. Not thread-safe: call it on the dispatcher's thread."""

    def __init__(self, dispatcher: Dispatcher[Any]) -> None:
        self._dispatcher = dispatcher
        self._noticed: set[Notice] = set()

    def take(self, number: int, message: Message) -> Answer:
        """Records one message of a trial's segment, any but its outcome, before the worker may go on.

        A segment ends by itself at its rung. It is told to end earlier only after an epoch, and only where the run
        stops or its hours are used up. Raises what the dispatcher raises.
        """
        match message:
            case EpochReport():
                return self._epoch(number, message)
            case Fallback():
                self._dispatcher.fell_back(number, message.epoch)
            case Notice() if message not in self._noticed:  # once, however many trials of a node send it
                self._noticed.add(message)
                _log.log(message.level, "%s", message.text)
        return "go on"

    def _epoch(self, number: int, report: EpochReport) -> Answer:
        # Before the epoch is recorded: asked to stop meanwhile, the worker is in its next epoch already, and ends that.
        is_last = self._dispatcher.stopping is not None
        self._dispatcher.report(number, report)
        if is_last:
            return "stop"
        return "out of time" if self._dispatcher.is_out_of_time(number) else "go on"
