"""Notices a lost cluster from a thread of the driver, before Ray ends the whole process.

Ray's driver waits a minute for a control store (GCS) that does not answer, and then ends the process without telling
us. If a raylet hangs, Ray waits forever for room on a node that is gone.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from types import TracebackType
from typing import Any, Self

import ray

from search.on_ray.ray_private import leaving_nodes

HEALTH_CHECKS = {
    # The control store reads these when it starts: on this machine, or where `ray start --head` ran.
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
}
"""A hanging node counts as lost after (3 + 10) x 3 s at most; with Ray's own threshold of 5 it would be 65 s."""

LOST_AFTER_S = 20.0
_RAYS_PATIENCE_S = 60.0
"""How long Ray itself waits for a control store that does not answer."""
_POLL_S = 2.0
_SHUTDOWN_S = 30.0
"""For Ray to shut down, which takes two or three."""
_GRACE_S = 10.0
"""For the driver to exit by itself before `give_up` ends it."""


def set_health_checks(environment: MutableMapping[str, str]) -> None:
    """Sets how long a node may hang, except where the user has set it. Call it before Ray starts."""
    for key, value in HEALTH_CHECKS.items():
        environment.setdefault(key, value)


def keep_trying(environment: MutableMapping[str, str], lost_after_s: float) -> None:
    """Makes Ray's own patience longer than ours, except where the user has set it. Call it before Ray starts.

    After a minute without the control store, Ray would end the driver's process.
    """
    if lost_after_s > LOST_AFTER_S:
        environment.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(int(lost_after_s + _RAYS_PATIENCE_S)))


def why_lost(
    *, reachable: bool, nodes: Sequence[Mapping[str, Any]], silent_s: float, lost_after_s: float = LOST_AFTER_S
) -> str | None:
    """Why a cluster that has not answered for `silent_s` counts as lost, or None if it does not yet. Pure."""
    if silent_s < lost_after_s:
        return None
    if not reachable:
        return f"its control store has not answered for {silent_s:.0f} s"
    return None if _any_alive(nodes) else f"none of its {len(nodes)} nodes is alive"


class ClusterWatch:
    """Watches the cluster in a thread.

    Once the cluster is lost, that thread calls `on_lost`, and then `give_up` if the driver has not left this context
    within 10 s; both get one clause for the user. `unstick` is called if Ray does not shut down after a normal end, as
    with a hanging raylet.
    """

    def __init__(
        self,
        *,
        on_lost: Callable[[str], None],
        give_up: Callable[[str], None],
        unstick: Callable[[], None],
        on_nodes: Callable[[Sequence[Mapping[str, Any]], frozenset[str]], None] = lambda _rows, _leaving: None,
        lost_after_s: float = LOST_AFTER_S,
    ) -> None:
        """on_nodes: called on the watch's thread with Ray's rows of all nodes, and the ids of those told to drain.
        lost_after_s: how long the control store may be silent."""
        self._on_nodes = on_nodes
        self._lost_after_s = lost_after_s
        self._on_lost = on_lost
        self._give_up = give_up
        self._unstick = unstick
        self._left = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._left.set()

    @contextlib.contextmanager
    def watching(self, place: str) -> Iterator[None]:
        """Watches while inside. Call it when connected to Ray. place: names the cluster in messages."""
        done = threading.Event()
        address = ray.get_runtime_context().gcs_address
        threading.Thread(target=self._watch, args=(place, address, done), name="cluster-watch", daemon=True).start()
        try:
            yield
        finally:
            done.set()
            threading.Thread(target=self._watch_shutdown, name="cluster-shutdown", daemon=True).start()

    def _watch_shutdown(self) -> None:
        if not self._left.wait(_SHUTDOWN_S):
            self._unstick()

    def _watch(self, place: str, address: str, done: threading.Event) -> None:
        alive_at_s, query = time.monotonic(), _NodeQuery()
        while not done.wait(_POLL_S):
            nodes = query.run() if _answers(address) else None
            reachable = nodes is not None
            if _any_alive(nodes or []):
                alive_at_s = time.monotonic()
            if nodes is not None:
                self._on_nodes(nodes, query.leaving)
            why = why_lost(
                reachable=reachable,
                nodes=nodes or [],
                silent_s=time.monotonic() - alive_at_s,
                lost_after_s=self._lost_after_s,
            )
            if why:
                text = f"{place} is lost: {why}"
                self._on_lost(text)
                if not self._left.wait(_GRACE_S):
                    self._give_up(text)
                return


class _NodeQuery:
    """Lists the nodes in a thread of its own, one query at a time, because a hanging store never answers."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._nodes: Sequence[Mapping[str, Any]] | None = None
        self.leaving: frozenset[str] = frozenset()
        """Ids of nodes that were told to drain, at the latest answer."""

    def run(self) -> Sequence[Mapping[str, Any]] | None:
        """Ray's nodes, or None if it does not answer in time."""
        if self._thread is None or not self._thread.is_alive():
            self._nodes = None
            self._thread = threading.Thread(target=self._query, name="cluster-query", daemon=True)
            self._thread.start()
        self._thread.join(_POLL_S)
        return None if self._thread.is_alive() else self._nodes

    def _query(self) -> None:
        # Ray may raise anything while it shuts down or its store dies; each error counts as no answer.
        with contextlib.suppress(Exception):
            self.leaving = leaving_nodes()
            self._nodes = ray.nodes()


def _any_alive(nodes: Sequence[Mapping[str, Any]]) -> bool:
    return any(node["Alive"] for node in nodes)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_POLL_S):
            return True
    except OSError:
        return False
