"""Supervises one segment in a child process: passes on its messages, reports how it ended, and leaves no orphan.

The child is forked from a server that has imported TensorFlow. It watches a pipe whose write end only its supervisor
holds, and exits when that closes (the fork server ends by itself when its last client is gone).
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess

from carcls.events import EpochReport
from carcls.system.module_path import without_current_folder
from search.experiment.search_settings import DeadlineSettings
from search.worker.deadlines import Deadline
from search.worker.fork_server import fork_server, stop_if_grown
from search.worker.gpu_faults import with_gpu_fault
from search.worker.lifeline import HAND_OVER, RECORDED
from search.worker.machine_memory import oom_kills
from search.worker.oom_detector import OutOfMemoryDetector, known_out_of_memory, with_micro_batches
from search.worker.segment import Fitted, Message, Outcome, Segment

_KILL_GRACE_S = 5.0
_POLL_S = 0.5
"""Interval at which a silent child's supervisor calls `raise_if_due`."""

_starting = threading.Lock()
"""Held while a child starts, because `_main_module_hidden` affects all threads."""
_children = 0
"""Living children of this process, each supervised by its own thread."""


def _keep_waiting() -> None:
    """The default of `raise_if_due`: only the child and its deadline end the wait."""


def _stays() -> bool:
    """The default of `is_leaving`."""
    return False


def worker_messages(
    segment: Segment,
    main: Callable[[Segment, Connection, Connection], None],
    *,
    whose: str = "the trial",
    raise_if_due: Callable[[], None] = _keep_waiting,
    is_leaving: Callable[[], bool] = _stays,
) -> Generator[Message, None, None]:
    """The messages of `segment_messages`, or only an outcome, without starting a child, if earlier segments showed that
    the smallest micro-batch does not fit here."""
    known_end = known_out_of_memory(with_micro_batches(segment))
    if known_end is None:
        yield from segment_messages(segment, main, whose=whose, raise_if_due=raise_if_due, is_leaving=is_leaving)
    else:
        yield known_end


def segment_messages(
    segment: Segment,
    main: Callable[[Segment, Connection, Connection], None],
    *,
    whose: str = "the trial",
    raise_if_due: Callable[[], None] = _keep_waiting,
    is_leaving: Callable[[], bool] = _stays,
) -> Generator[Message, None, None]:
    """Runs one segment in a child and yields its messages, the outcome last. Close the generator to end the child.

    The child begins no further epoch before the caller asks for the message after its last one.

    main: the child's main function, importable by name. whose: names the child in the cause of its death.
    raise_if_due: called while the child is silent; an exception from it ends the child and propagates. is_leaving:
    asked as often; once True, the child saves its state and ends, even within an epoch.
    """
    segment, context, kills_before = with_micro_batches(segment), fork_server(), oom_kills()
    messages, child_messages = context.Pipe(duplex=False)
    child_lifeline, lifeline = context.Pipe(duplex=False)
    child = context.Process(target=main, args=(segment, child_messages, child_lifeline), name="carsearch-trial")
    with _starting, _main_module_hidden(), without_current_folder(), _ctrl_c_blocked():
        child.start()
        _count_children(+1)
    child_messages.close()
    child_lifeline.close()
    try:
        detector = OutOfMemoryDetector(segment, kills_before)
        deadline = Deadline(DeadlineSettings.model_validate(segment.deadline))
        due = _HandOver(lifeline, is_leaving, raise_if_due)
        for message in _messages(messages, child, deadline, whose=whose, raise_if_due=due):
            if isinstance(message, Fitted):
                detector.fitted(message)
                continue
            yield with_gpu_fault(detector.annotate(message, child.exitcode), segment)
            if isinstance(message, EpochReport):  # the caller has come back, so the driver has recorded it
                _tell(lifeline, RECORDED)
    finally:
        lifeline.close()
        _end(child)
        with _starting:
            if _count_children(-1) == 0:  # stopping a server waits for its children
                stop_if_grown()


def _tell(lifeline: Connection, what: bytes) -> None:
    with contextlib.suppress(OSError):  # the child is gone, which `_messages` will notice
        lifeline.send_bytes(what)


class _HandOver:
    """Tells the child once that it should save its state and end. Called while the child is silent."""

    def __init__(self, lifeline: Connection, is_leaving: Callable[[], bool], raise_if_due: Callable[[], None]) -> None:
        self._lifeline = lifeline
        self._is_leaving = is_leaving
        self._raise_if_due = raise_if_due
        self._is_told = False

    def __call__(self) -> None:
        self._raise_if_due()
        if not self._is_told and self._is_leaving():
            self._is_told = True
            _tell(self._lifeline, HAND_OVER)


def _count_children(change: int) -> int:
    """Adds `change` to the number of children and returns it. Call it with `_starting` held."""
    global _children  # noqa: PLW0603 - one count for the one fork server of this process
    _children += change
    return _children


@contextlib.contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keeps multiprocessing from running the supervisor's script again in every child: it would import `__main__`, by
    name after `python -m`, else by path."""
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name, None) for name in ("__file__", "__spec__")}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update({name: value for name, value in hidden.items() if value is not None})


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Processes started inside, server and child, ignore a terminal's Ctrl-C: the supervisor decides what it means."""
    # Started here, because otherwise the fork server starts it, which unblocks SIGINT.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _messages(
    pipe: Connection,
    child: ForkServerProcess,
    deadline: Deadline,
    *,
    whose: str = "the trial",
    raise_if_due: Callable[[], None] = _keep_waiting,
) -> Iterator[Message | Fitted]:
    """The child's messages in order, ending with an outcome even if the child dies without one or is stuck."""
    while True:
        if not wait([pipe, child.sentinel], timeout=min(deadline.left_s, _POLL_S)):
            raise_if_due()
            if deadline.left_s > 0:
                continue
            child.kill()
            yield Outcome("killed", deadline.cause, timeout_setting=deadline.setting)
            return
        if pipe.poll():
            try:
                message: Message | Fitted = pipe.recv()
            except EOFError:
                break
            yield message
            if isinstance(message, Outcome):
                return
            deadline.received(message if isinstance(message, EpochReport) else None)
        elif not child.is_alive():
            break
    child.join()
    yield Outcome("killed", f"{whose}'s process died with exit code {child.exitcode}")


def _end(child: ForkServerProcess) -> None:
    child.join(timeout=_KILL_GRACE_S)
    if child.is_alive():
        child.kill()
        child.join(timeout=_KILL_GRACE_S)  # a process that hangs in a system call dies later
