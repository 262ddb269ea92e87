"""Where a trial's child begins. Apart, because the child imports the module of its main function before anything runs:
beside the trainable, that would be all of Ray Tune, half a second in each trial."""

from multiprocessing.connection import Connection

from search.cluster.segment import Segment

PRELOAD = ["search.cluster.child", "search.cluster.entry"]
"""What the fork server imports once, for every child."""


def child_main(segment: Segment, messages: Connection, lifeline: Connection) -> None:
    """The child's main function; see `search.cluster.child`."""
    from search.cluster.child import run_child  # noqa: PLC0415 - brings TensorFlow, which the actor must not load

    run_child(segment, messages, lifeline)
