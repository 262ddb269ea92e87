"""A trial's way to the driver: its epochs, its outcome, and what the store has to say meanwhile."""

import logging
import platform
import threading
from multiprocessing.connection import Connection

import carcls.store
from search.worker.segment import Message, Notice


class Outbox:
    """Sends whole messages; safe for several threads, which a connection alone is not."""

    def __init__(self, messages: Connection) -> None:
        self._messages = messages
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """One message. Raises OSError where the actor is gone."""
        with self._lock:
            self._messages.send(message)

    def close(self) -> None:
        """No message follows."""
        with self._lock:
            self._messages.close()


class NoticeHandler(logging.Handler):
    """Sends what is logged to the driver, named after this node."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(logging.INFO)
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        """One notice for one record."""
        try:
            self._outbox.send(Notice(record.levelno, f"{platform.node()}: {record.getMessage()}"))
        except OSError:  # closed: the trial is over, and its own output has the line
            self.handleError(record)


def send_notices(outbox: Outbox) -> None:
    """What the store logs goes to the driver, whose terminal somebody watches, and to the trial's own output."""
    log = logging.getLogger(carcls.store.__name__)
    log.setLevel(logging.INFO)
    log.addHandler(NoticeHandler(outbox))
    log.addHandler(logging.StreamHandler())
