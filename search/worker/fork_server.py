"""The actor's fork server: it has TensorFlow imported, and every child starts from it."""

import multiprocessing
import multiprocessing.forkserver
import os
import tempfile
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ForkServer
from multiprocessing.util import get_temp_dir

from search.worker.entry import PRELOAD
from search.worker.machine_memory import own_bytes

SOCKETS = "CARSEARCH_SOCKETS"
"""In an actor's environment: the folder for its server's socket, which goes with the search. Ray kills its actors, so
that none clears away what it made."""

GROWTH_BYTES = 256 * 2**20
"""What a server may have gained since its first child: each child begins with a copy of all that it holds."""

_first_bytes: dict[int, int] = {}
"""By process id: what a server held when it was first looked at."""


def fork_server() -> ForkServerContext:
    """The actor's fork server context; the server itself starts with the first child and keeps that environment."""
    if SOCKETS in os.environ:
        _keep_sockets_below(os.environ[SOCKETS])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def _keep_sockets_below(folder: str) -> None:
    """Has multiprocessing make its folder for this process there; once it has one, it keeps that.

    By a longer way than TMPDIR, which is the user's choice of a disk for all else that is temporary.
    """
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        get_temp_dir()
    finally:
        tempfile.tempdir = before


def end_if_grown(server: ForkServer | None = None, growth_bytes: int = GROWTH_BYTES) -> bool:
    """Between two children: ends a server that has grown by more than the bound since it was first looked at; the next
    child then starts another. True where it did.

    server: None: this process's own.
    """
    # Private, but the only way: multiprocessing gives its server no public end (its own tests use the same).
    server = server or multiprocessing.forkserver._forkserver
    pid: int | None = server._forkserver_pid  # type: ignore[attr-defined]  # private, see above
    if pid is None:
        return False
    held = own_bytes(pid)
    if held - _first_bytes.setdefault(pid, held) <= growth_bytes:
        return False
    del _first_bytes[pid]
    server._stop()  # type: ignore[attr-defined]  # private, see above
    return True
