"""Sends a trial's messages to the driver: its epochs, its outcome, and the store's log lines."""

import logging
import platform
import threading
from multiprocessing.connection import Connection

import carcls.store
from carcls.events import EpochReport
from search.worker.segment import Fitted, Message, Notice


class Outbox:
    """Sends whole messages. Thread-safe, unlike a connection."""

    def __init__(self, messages: Connection) -> None:
        self._messages = messages
        self._lock = threading.Lock()
        self._acknowledged = threading.Semaphore(0)
        self.hand_over = threading.Event()
        """Set once the driver wants the training to be saved and to end, even within an epoch."""

    def report(self, report: EpochReport) -> None:
        """Sends an epoch and waits until the driver has recorded it: no training runs ahead of the driver.

        Raises OSError if the supervisor is gone.
        """
        self.send(report)
        self._acknowledged.acquire()

    def acknowledge(self) -> None:
        """The driver has recorded one epoch. Any thread."""
        self._acknowledged.release()

    def send(self, message: Message | Fitted) -> None:
        """Sends one message. Raises OSError if the supervisor is gone."""
        with self._lock:
            self._messages.send(message)

    def close(self) -> None:
        """Closes the connection: no message follows."""
        with self._lock:
            self._messages.close()


class NoticeHandler(logging.Handler):
    """Sends log records to the driver, prefixed with this node's name."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__(logging.INFO)
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one record as one notice."""
        try:
            self._outbox.send(Notice(record.levelno, f"{platform.node()}: {record.getMessage()}"))
        except OSError:  # closed: the trial has ended, and its own output has the line
            self.handleError(record)


def send_notices(outbox: Outbox) -> None:
    """Sends the store's log to the driver's terminal and to the trial's own output."""
    log = logging.getLogger(carcls.store.__name__)
    log.setLevel(logging.INFO)
    log.addHandler(NoticeHandler(outbox))
    log.addHandler(logging.StreamHandler())
