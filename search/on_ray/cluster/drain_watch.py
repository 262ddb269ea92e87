"""Whether a worker should hand over: its node was told to leave by Ray's drain notice, or its driver to end."""

import contextlib
import threading
import time

import ray

from search.on_ray.ray_private import is_hand_over_asked, leaving_nodes

_PAUSE_S = 1.0

_is_asked = threading.Event()
_starting = threading.Lock()
_is_watched = False


def should_hand_over() -> bool:
    """True once this process's node was told to drain, or its driver was asked to end. The first call starts a thread
    that asks Ray."""
    global _is_watched  # noqa: PLW0603 - one thread per process
    with _starting:
        if not _is_watched:
            _is_watched = True
            threading.Thread(target=_watch, args=(ray.get_runtime_context().get_node_id(),), daemon=True).start()
    return _is_asked.is_set()


def _watch(node_id: str) -> None:
    while not _is_asked.is_set():
        # Ray may raise anything while it shuts down or its store dies. The thread keeps a hanging store to itself.
        with contextlib.suppress(Exception):
            if is_hand_over_asked() or node_id in leaving_nodes():
                _is_asked.set()
        time.sleep(_PAUSE_S)
