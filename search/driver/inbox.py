"""What workers say, turned into calls of the dispatcher: one place for every executor."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from search.driver.dispatch import Dispatcher
from search.terminal.logs import get_logger
from search.worker.segment import Notice, read_evidence, read_fallback, read_notice, read_report

_log = get_logger(__name__)

Answer = Literal["go on", "stop", "out of time"]
"""What its worker does next. `stop`: end now, and nothing has become of the segment. `out of time`: end now, with that
outcome."""


class Inbox:
    """Records what running segments say. Not thread-safe: call it on the dispatcher's thread."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._noticed: set[Notice] = set()

    def take(self, number: int, message: Mapping[str, Any]) -> Answer:
        """Records one message of a trial's segment, any but its outcome, before the worker may go on.

        A segment ends by itself at its rung. It is told to end before that only by an epoch, and only where the run
        stops or its hours are used up. Raises what the dispatcher raises.
        """
        # Before the epoch is recorded: asked to stop meanwhile, the worker is in its next epoch already, and ends that.
        is_last = self._dispatcher.stopping is not None
        fallback, report, notice = read_fallback(message), read_report(message), read_notice(message)
        if fallback is not None:
            self._dispatcher.fell_back(number, fallback.epoch)
        if notice is not None and notice not in self._noticed:  # once, however many trials of a node say the same
            self._noticed.add(notice)
            _log.log(notice.level, "%s", notice.text)
        if report is None:
            return "go on"
        self._dispatcher.report(number, replace(report, evidence=read_evidence(message)))
        if is_last:
            return "stop"
        return "out of time" if self._dispatcher.is_out_of_time(number) else "go on"
