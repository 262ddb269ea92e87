"""What a worker runs: a fresh process per segment, forked from a server that has TensorFlow imported already.

    Ray actor (Tune's function trainable; no TensorFlow in it)
      └─ fork server: imports keras once, after Ray has set the actor's GPUs
           └─ child: one segment; its GPU memory is free when it exits
                └─ nursery, forked before TensorFlow runs: processes that prepare batches, see carcls.data.nursery

The child watches a pipe whose write end only the actor holds, and exits when it closes, so that a killed actor, raylet
or driver leaves no orphan (the fork server ends by itself when its last client is gone).
"""

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any

from ray import tune

from search.cluster.deadlines import Deadline
from search.cluster.entry import child_main
from search.cluster.fitting import MemoryTold, fitted, refused_before
from search.cluster.memory import oom_kills
from search.cluster.segment import OUTCOME, Message, Outcome, Segment, outcome_message, read_report
from search.cluster.server import end_if_grown, fork_server
from search.experiment.settings import DeadlineSettings

_KILL_GRACE_S = 5.0
_LOOK_S = 0.5
"""How often a silent child's actor asks whether it should still wait."""


def run_segment(config: dict[str, Any]) -> None:
    """Tune's trainable: starts the child, passes its messages on, ends when it ends.

    `tune.report` blocks until the driver has recorded the message, and raises SystemExit when Tune stops the trial.
    """
    segment = Segment(**config["segment"])
    known_end = refused_before(fitted(segment))
    if known_end is not None:
        tune.report(outcome_message(known_end))
        return
    with contextlib.closing(segment_messages(segment, child_main)) as messages:
        for message in messages:
            tune.report(message)


def segment_messages(
    segment: Segment, main: Callable[[Segment, Connection, Connection], None]
) -> Generator[Message, None, None]:
    """One segment in a child of its own: what the child says, its outcome last. Close it to end the child.

    main: the child's main function, to be found by name in a module.
    """
    segment, context, kills_before = fitted(segment), fork_server(), oom_kills()
    messages, child_messages = context.Pipe(duplex=False)
    child_lifeline, lifeline = context.Pipe(duplex=False)
    child = context.Process(target=main, args=(segment, child_messages, child_lifeline), name="carsearch-trial")
    with _main_module_hidden():
        child.start()
    child_messages.close()
    child_lifeline.close()
    try:
        told = MemoryTold(segment, kills_before)
        deadline = Deadline(DeadlineSettings.model_validate(segment.deadline))
        for message in _messages(messages, child, deadline):
            yield told.of(message, child.exitcode)
    finally:
        lifeline.close()
        _end(child)
        end_if_grown()


@contextlib.contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keeps multiprocessing from running Ray's worker script again in every child: it imports `__main__` by path."""
    main = sys.modules["__main__"]
    path = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            main.__file__ = path


def _messages(pipe: Connection, child: ForkServerProcess, deadline: Deadline) -> Iterator[Message]:
    """The child's messages in order; a child that dies without a word, or is stuck, gets an Outcome of its own."""
    while True:
        if not wait([pipe, child.sentinel], timeout=min(deadline.left_s, _LOOK_S)):
            if deadline.left_s > 0:
                continue
            child.kill()
            yield outcome_message(Outcome("killed", deadline.cause))
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
    yield outcome_message(Outcome("killed", f"the trial's process died with exit code {child.exitcode}"))


def _end(child: ForkServerProcess) -> None:
    child.join(timeout=_KILL_GRACE_S)
    if child.is_alive():
        child.kill()
        child.join(timeout=_KILL_GRACE_S)  # what hangs in the kernel dies when that lets it
