"""A cluster that is gone: noticed by a thread of the driver, before Ray gives the whole process up.

Ray's driver waits a minute for a control store (GCS) that does not answer, and then ends the process without a word of
ours. Where a raylet merely hangs, it waits for ever for a place on a node that nobody has any more.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from types import TracebackType
from typing import Any, Self

import ray

HEALTH_CHECKS = {
    # Read by the control store where that starts: on our own machine, or where `ray start --head` was called.
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
}
"""A node that hangs counts as lost after (3 + 10) x 3 s at most; Ray's own threshold of 5 makes that 65 s."""

LOST_AFTER_S = 20.0
_LOOK_S = 2.0
_LEAVE_S = 30.0
"""For Ray's own way down, which takes two or three."""
_GRACE_S = 10.0
"""For the driver's own way out, before it is ended from here."""


def bound_health_checks(environment: MutableMapping[str, str]) -> None:
    """Before Ray starts: how long a node may hang; what the environment says already stands."""
    for key, value in HEALTH_CHECKS.items():
        environment.setdefault(key, value)


def why_lost(*, reachable: bool, nodes: Sequence[Mapping[str, Any]], silent_s: float) -> str | None:
    """What to say of a cluster that has not been whole for `silent_s`; None while there is hope. Pure."""
    if silent_s < LOST_AFTER_S:
        return None
    if not reachable:
        return f"its control store has not answered for {silent_s:.0f} s"
    return None if _any_alive(nodes) else f"none of its {len(nodes)} nodes is alive"


class ClusterWatch:
    """Looks after the cluster in a thread. Once it is lost `on_lost` is told, and then `give_up` is called where the
    driver has not left this context within 10 s; both with one clause for the user, and in that thread.

    `unstick` is called where a driver that has ended well does not get away from Ray, as from a raylet that hangs.
    """

    def __init__(
        self, *, on_lost: Callable[[str], None], give_up: Callable[[str], None], unstick: Callable[[], None]
    ) -> None:
        self._on_lost = on_lost
        self._give_up = give_up
        self._unstick = unstick
        self._left = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._left.set()

    @contextlib.contextmanager
    def looking(self, place: str) -> Iterator[None]:
        """While inside, and connected to Ray. `place`: what to call the cluster."""
        done = threading.Event()
        address = ray.get_runtime_context().gcs_address
        threading.Thread(target=self._look, args=(place, address, done), name="cluster-watch", daemon=True).start()
        try:
            yield
        finally:
            done.set()
            threading.Thread(target=self._see_it_leave, name="cluster-leave", daemon=True).start()

    def _see_it_leave(self) -> None:
        if not self._left.wait(_LEAVE_S):
            self._unstick()

    def _look(self, place: str, address: str, done: threading.Event) -> None:
        whole_s, question = time.monotonic(), _Question()
        while not done.wait(_LOOK_S):
            nodes = question.ask() if _answers(address) else None
            reachable = nodes is not None
            if _any_alive(nodes or []):
                whole_s = time.monotonic()
            why = why_lost(reachable=reachable, nodes=nodes or [], silent_s=time.monotonic() - whole_s)
            if why:
                text = f"{place} is lost: {why}"
                self._on_lost(text)
                if not self._left.wait(_GRACE_S):
                    self._give_up(text)
                return


class _Question:
    """Which nodes there are, asked in a thread of its own, one at a time: from a store that hangs no answer comes."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._nodes: Sequence[Mapping[str, Any]] | None = None

    def ask(self) -> Sequence[Mapping[str, Any]] | None:
        """All that Ray knows; None where it did not answer in time."""
        if self._thread is None or not self._thread.is_alive():
            self._nodes = None
            self._thread = threading.Thread(target=self._run, name="cluster-question", daemon=True)
            self._thread.start()
        self._thread.join(_LOOK_S)
        return None if self._thread.is_alive() else self._nodes

    def _run(self) -> None:
        # Whatever Ray raises, while it is shut down or its store dies under the question, is no answer.
        with contextlib.suppress(Exception):
            self._nodes = ray.nodes()


def _any_alive(nodes: Sequence[Mapping[str, Any]]) -> bool:
    return any(node["Alive"] for node in nodes)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_LOOK_S):
            return True
    except OSError:
        return False
