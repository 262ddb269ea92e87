"""Where a trial's child begins. Apart, because the child imports the module of its main function before anything runs:
beside the trainable, that would be all of Ray Tune, half a second in each trial."""

from collections.abc import Callable
from multiprocessing.connection import Connection

from carcls.errors import FrameworkError
from search.worker.segment import Outcome, Segment

PRELOAD = ["search.worker.preload", "search.worker.entry"]
"""What the fork server imports once, for every child."""


def child_main(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's main function; see `search.worker.child`."""
    run_child = imported(_run_child, messages)
    if run_child is not None:
        run_child(segment, messages, lifeline)


def _run_child() -> Callable[[Segment, Connection, Connection], None]:
    from search.worker.child import run_child  # noqa: PLC0415 - brings TensorFlow, which the actor must not load

    return run_child


def imported(load: Callable[[], Callable[..., None]], messages: Connection) -> Callable[..., None] | None:
    """What `load` imports and returns; None where it cannot, and then that is this child's outcome.

    The server's own failure comes first: a module that it has half imported fails in another way the second time.
    """
    from search.worker import preload  # noqa: PLC0415 - brings TensorFlow

    try:
        if preload.failure is not None:
            raise preload.failure
        return load()
    except Exception as error:  # noqa: BLE001 - whatever a broken framework raises is this child's outcome
        name = "" if isinstance(error, FrameworkError) else f"{type(error).__name__}: "
        messages.send(Outcome("unable", f"{name}{error}".strip().splitlines()[0]))
        return None
