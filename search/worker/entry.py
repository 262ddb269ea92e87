"""Entry point of a trial's process.

It is a module of its own because a child imports its main function's module first. In the trainable's module that would
import Ray Tune, which takes half a second in each trial.
"""

from collections.abc import Callable
from multiprocessing.connection import Connection

from carcls.errors import FrameworkError
from search.worker.segment import Outcome, Segment

PRELOAD = ["search.worker.preload", "search.worker.entry"]
"""Modules that the fork server imports once for all children."""


def child_main(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's main function; see `search.worker.child`."""
    run_training = import_or_report(_run_training, messages)
    if run_training is not None:
        run_training(segment, messages, lifeline)


def _run_training() -> Callable[[Segment, Connection, Connection], None]:
    from search.worker.child import run_training  # noqa: PLC0415 - brings TensorFlow, which the supervisor must not load

    return run_training


def import_or_report(load: Callable[[], Callable[..., None]], messages: Connection) -> Callable[..., None] | None:
    """The result of `load`, which imports modules. If an import fails, sends that as the outcome and returns None.

    An import error of the fork server is reported first, because a half-imported module fails differently the second
    time.
    """
    from search.worker import preload  # noqa: PLC0415 - brings TensorFlow

    try:
        if preload.import_error is not None:
            raise preload.import_error
        return load()
    except Exception as error:  # noqa: BLE001 - a broken framework may raise anything, which becomes the outcome
        name = "" if isinstance(error, FrameworkError) else f"{type(error).__name__}: "
        messages.send(Outcome("unable", f"{name}{error}".strip().splitlines()[0]))
        return None
