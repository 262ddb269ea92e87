"""An executor that trains in processes of this machine, without Ray. See `search.driver.executor` for the contract.

caller's thread: dispatcher, study, signals
  └─ one thread per running segment: supervises its child and passes on its messages
       └─ child: one segment, forked from the process's fork server
"""

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from search.driver.dispatch import Dispatcher
from search.driver.inbox import Inbox
from search.driver.interrupts import INTERRUPTED, Interrupts
from search.driver.nodes.slots import Slots
from search.worker.entry import child_main
from search.worker.gpu_names import avoided_gpus
from search.worker.segment import LOST, Granted, Message, Outcome, Segment
from search.worker.supervisor import worker_messages

_POLL_S = 0.2
"""How often the loop checks for signals and asks for another segment while no message arrives."""

Main = Callable[[Segment, Connection, Connection], None]
"""A child's main function. It must be importable by name."""


class LocalExecutor:
    """Runs each segment in a child of this process. Call `run` on the main thread, which receives Ctrl-C."""

    def __init__(
        self,
        slots: Slots,
        *,
        interrupts: Interrupts,
        main: Main = child_main,
        whose: Callable[[Segment], str] = lambda _: "the trial",
    ) -> None:
        """whose: names a segment's training in the cause of its child's death."""
        self._slots = slots
        self._interrupts = interrupts
        self._main = main
        self._whose = whose

    def run(self, dispatcher: Dispatcher[Segment]) -> None:
        """See `Executor.run`."""
        with self._interrupts.listening(lambda: dispatcher.stop(INTERRUPTED)):
            loop = _Loop(dispatcher, self._slots, self._start)
            try:
                while loop.is_busy():
                    self._interrupts.raise_if_due()
                    loop.step()
            except KeyboardInterrupt:
                dispatcher.stop(INTERRUPTED)
            finally:
                loop.end_all()
        if self._interrupts.error is not None:
            raise self._interrupts.error

    def _start(self, segment: Segment, messages: "queue.SimpleQueue[_Event]") -> "_Worker":
        worker = _Worker(
            segment, self._main, self._whose(segment), messages, is_leaving=lambda: self._interrupts.hands_over
        )
        worker.start()
        return worker


class _Worker(threading.Thread):
    """Supervises one segment's child. The loop answers each message before the next one is read from the child."""

    def __init__(
        self,
        segment: Segment,
        main: Main,
        whose: str,
        messages: "queue.SimpleQueue[_Event]",
        *,
        is_leaving: Callable[[], bool],
    ) -> None:
        """is_leaving: True once the child should save its state and end."""
        super().__init__(name=f"segment-{segment.number}", daemon=True)
        self.segment = segment
        self.outcome: Outcome | None = None
        """The segment's outcome as far as it is known, or None."""
        self.gpus: str | None = None
        """Its GPUs, or None if unknown."""
        self.is_stopped = False
        """True if the worker was asked to stop after its epoch; the segment then has no outcome."""
        self._main = main
        self._whose = whose
        self._is_leaving = is_leaving
        self._messages = messages
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._is_over = threading.Event()

    def run(self) -> None:
        """The thread's main function."""
        try:
            messages = worker_messages(
                self.segment,
                self._main,
                whose=self._whose,
                raise_if_due=self._raise_if_over,
                is_leaving=self._is_leaving,
            )
            with contextlib.closing(messages):
                for message in messages:
                    self._messages.put((self, message))
                    if not self._answers.get():
                        break
        except _OverError:
            pass
        except Exception as error:  # noqa: BLE001 - a child that cannot be supervised counts as dead
            self.outcome = Outcome("killed", f"{type(error).__name__}: {error}".splitlines()[0])
        finally:
            self._messages.put((self, None))

    def answer(self, *, goes_on: bool) -> None:
        """Acknowledge the last message, which is recorded. With goes_on=False, the child ends."""
        self._answers.put(goes_on)

    def end(self) -> None:
        """End the child at once."""
        self._is_over.set()
        self._answers.put(False)

    def _raise_if_over(self) -> None:
        if self._is_over.is_set():
            raise _OverError


class _OverError(Exception):
    """The run is over, so its children are no longer waited for."""


_Event = tuple[_Worker, Message | None]
"""A worker and its message, or None once its process is gone."""


class _Loop:
    """The running segments. All methods run on the caller's thread."""

    def __init__(self, dispatcher: Dispatcher[Segment], slots: Slots, start: Callable[[Segment, Any], _Worker]) -> None:
        self._dispatcher = dispatcher
        self._inbox = Inbox(dispatcher)
        self._threads = slots.threads
        self._free = list(slots.gpus)
        self._start = start
        self._messages: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._workers: list[_Worker] = []

    def is_busy(self) -> bool:
        """Hand out segments to free slots. Returns False once the run is finished and no worker is left."""
        is_finished = False
        while self._free and not is_finished:
            segment = self._dispatcher.next_segment()
            if segment == "wait":
                break
            if segment == "finished":
                is_finished = True
            else:
                own = replace(segment, threads=self._threads, gpu=self._free.pop(0))
                self._workers.append(self._start(own, self._messages))
        return bool(self._workers) or not is_finished

    def step(self) -> None:
        """Wait briefly for a message and record it."""
        try:
            worker, message = self._messages.get(timeout=_POLL_S)
        except queue.Empty:
            return
        if message is None:
            self._handle_exit(worker)
        else:
            self._handle(worker, message)

    def end_all(self) -> None:
        """End the remaining workers and wait until they are gone."""
        for worker in self._workers:
            worker.end()
        for worker in self._workers:
            worker.join()

    def _handle(self, worker: _Worker, message: Message) -> None:
        if isinstance(message, Outcome):
            worker.outcome = message
            worker.answer(goes_on=True)
            return
        if isinstance(message, Granted):
            worker.gpus = message.gpus
        answer = self._inbox.take(worker.segment.number, message)
        worker.is_stopped = answer == "stop"
        if answer == "out of time":
            worker.outcome = Outcome("out_of_time")
        worker.answer(goes_on=answer == "go on")

    def _handle_exit(self, worker: _Worker) -> None:
        worker.join()
        self._workers.remove(worker)
        if not worker.is_stopped:
            self._dispatcher.segment_ended(worker.segment.number, worker.outcome or LOST)
        if not avoided_gpus(worker.gpus, self._dispatcher.excluded_gpus()):
            self._free.insert(0, worker.segment.gpu)
