"""One segment in a child of its own, supervised: what the child says, how it ended, and never an orphan.

The child is forked from a server that has TensorFlow imported already. It watches a pipe whose write end only its
supervisor holds, and exits when that closes (the fork server ends by itself when its last client is gone).
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess

from carcls.system.module_path import without_current_folder
from search.experiment.settings import DeadlineSettings
from search.worker.deadlines import Deadline
from search.worker.fitting import MemoryTold, fitted, refused_before
from search.worker.fork_server import end_if_grown, fork_server
from search.worker.machine_memory import oom_kills
from search.worker.segment import OUTCOME, Message, Outcome, Segment, outcome_message, read_report

_KILL_GRACE_S = 5.0
_LOOK_S = 0.5
"""How often a silent child's supervisor asks whether it should still wait."""


_starting = threading.Lock()
"""Held while a child starts: what `_main_module_hidden` hides, it hides from all threads."""
_children = 0
"""Of this process, alive now: supervised by a thread each."""


def _wait_on() -> None:
    """Nobody may end the wait but the child and its deadline."""


def worker_messages(
    segment: Segment,
    main: Callable[[Segment, Connection, Connection], None],
    *,
    whose: str = "the trial",
    raise_if_due: Callable[[], None] = _wait_on,
) -> Generator[Message, None, None]:
    """What a worker says of a segment: as `segment_messages`; but where an earlier segment found that not even the
    fewest photos have room here, its outcome alone, and no child starts."""
    known_end = refused_before(fitted(segment))
    if known_end is None:
        yield from segment_messages(segment, main, whose=whose, raise_if_due=raise_if_due)
    else:
        yield outcome_message(known_end)


def segment_messages(
    segment: Segment,
    main: Callable[[Segment, Connection, Connection], None],
    *,
    whose: str = "the trial",
    raise_if_due: Callable[[], None] = _wait_on,
) -> Generator[Message, None, None]:
    """One segment in a child of its own: what the child says, its outcome last. Close it to end the child.

    main: the child's main function, to be found by name in a module. whose: the child, for the cause of its death.
    raise_if_due: called while nothing is said; what it raises ends the child, and passes through.
    """
    segment, context, kills_before = fitted(segment), fork_server(), oom_kills()
    messages, child_messages = context.Pipe(duplex=False)
    child_lifeline, lifeline = context.Pipe(duplex=False)
    child = context.Process(target=main, args=(segment, child_messages, child_lifeline), name="carsearch-trial")
    with _starting, _main_module_hidden(), without_current_folder(), _deaf_to_ctrl_c():
        child.start()
        _count_children(+1)
    child_messages.close()
    child_lifeline.close()
    try:
        told = MemoryTold(segment, kills_before)
        deadline = Deadline(DeadlineSettings.model_validate(segment.deadline))
        for message in _messages(messages, child, deadline, whose=whose, raise_if_due=raise_if_due):
            yield told.of(message, child.exitcode)
    finally:
        lifeline.close()
        _end(child)
        with _starting:
            if _count_children(-1) == 0:  # a server ends once its children have, and would be waited for
                end_if_grown()


def _count_children(change: int) -> int:
    """How many there are after one has started or ended. Call it with `_starting` held."""
    global _children  # noqa: PLW0603 - as many as the one fork server of this process has
    _children += change
    return _children


@contextlib.contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keeps multiprocessing from running the supervisor's own script again in every child: it imports `__main__`, by
    name after `python -m`, else by path."""
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name, None) for name in ("__file__", "__spec__")}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update({name: value for name, value in hidden.items() if value is not None})


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """What starts here, server and child, never hears of a terminal's Ctrl-C: the supervisor decides what it means."""
    # A fork server starts it where it does not run, and whoever starts it has SIGINT unblocked afterwards.
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
    raise_if_due: Callable[[], None] = _wait_on,
) -> Iterator[Message]:
    """The child's messages in order; a child that dies without a word, or is stuck, gets an Outcome of its own."""
    while True:
        if not wait([pipe, child.sentinel], timeout=min(deadline.left_s, _LOOK_S)):
            raise_if_due()
            if deadline.left_s > 0:
                continue
            child.kill()
            yield outcome_message(Outcome("killed", deadline.cause, silent_by=deadline.setting))
            return
        if pipe.poll():
            try:
                message = pipe.recv()
            except EOFError:
                break
            yield message
            if OUTCOME in message:
                return
            deadline.heard(read_report(message))
        elif not child.is_alive():
            break
    child.join()
    yield outcome_message(Outcome("killed", f"{whose}'s process died with exit code {child.exitcode}"))


def _end(child: ForkServerProcess) -> None:
    child.join(timeout=_KILL_GRACE_S)
    if child.is_alive():
        child.kill()
        child.join(timeout=_KILL_GRACE_S)  # what hangs in the kernel dies when that lets it
