"""Whether a worker's own node was told to leave the cluster, by Ray's drain notice."""

import contextlib
import threading
import time

import ray

from search.on_ray.ray_private import leaving_nodes

_PAUSE_S = 3.0

_is_leaving = threading.Event()
_starting = threading.Lock()
_is_watched = False


def is_leaving() -> bool:
    """True once this process's node was told to drain. The first call starts a thread that asks Ray."""
    global _is_watched  # noqa: PLW0603 - one thread per process
    with _starting:
        if not _is_watched:
            _is_watched = True
            threading.Thread(target=_watch, args=(ray.get_runtime_context().get_node_id(),), daemon=True).start()
    return _is_leaving.is_set()


def _watch(node_id: str) -> None:
    while not _is_leaving.is_set():
        # Ray may raise anything while it shuts down or its store dies. The thread keeps a hanging store to itself.
        with contextlib.suppress(Exception):
            if node_id in leaving_nodes():
                _is_leaving.set()
        time.sleep(_PAUSE_S)
