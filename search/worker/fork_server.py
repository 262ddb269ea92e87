"""The fork server of a supervising process: it has imported TensorFlow, and every child is forked from it."""

import multiprocessing
import multiprocessing.forkserver
import os
import tempfile
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ForkServer
from multiprocessing.util import get_temp_dir

from search.worker.entry import PRELOAD
from search.worker.machine_memory import private_bytes

SOCKET_FOLDER_ENV = "CARSEARCH_SOCKETS"
"""Environment variable of an actor: the folder for its server's socket, which is deleted with the search. Ray kills its
actors, so they cannot clean up themselves."""

MAX_GROWTH_BYTES = 256 * 2**20
"""How much a server may grow after its first child. Each child starts with a copy of the server's memory."""

_first_bytes: dict[int, int] = {}
"""Memory of each server, by process id, at its first check."""


def fork_server() -> ForkServerContext:
    """The fork server of this process. It starts with the first child and keeps that child's environment."""
    if SOCKET_FOLDER_ENV in os.environ:
        _keep_sockets_below(os.environ[SOCKET_FOLDER_ENV])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def _keep_sockets_below(folder: str) -> None:
    """Makes multiprocessing create its temporary folder for this process below `folder`.

    Setting TMPDIR would be simpler, but that is the user's choice of a disk for all other temporary files.
    """
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        get_temp_dir()
    finally:
        tempfile.tempdir = before


def stop_if_grown(server: ForkServer | None = None, growth_bytes: int = MAX_GROWTH_BYTES) -> bool:
    """Stops a server that has grown by more than `growth_bytes` since its first check, and returns True if it did.

    Call it while no child runs; the next child starts a new server. server: this process's own if None.
    """
    # Private, but multiprocessing has no public way to stop its server (its own tests use the same).
    server = server or multiprocessing.forkserver._forkserver
    pid: int | None = server._forkserver_pid  # type: ignore[attr-defined]  # private, see above
    if pid is None:
        return False
    held = private_bytes(pid)
    if held - _first_bytes.setdefault(pid, held) <= growth_bytes:
        return False
    del _first_bytes[pid]
    server._stop()  # type: ignore[attr-defined]  # private, see above
    return True
