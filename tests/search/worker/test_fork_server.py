"""A fork server that grows is stopped; the next child gets a new one."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.forkserver import ForkServer
from pathlib import Path

import pytest

from search.worker.fork_server import stop_if_grown
from search.worker.machine_memory import private_bytes
from tests.helpers.search.processes import is_alive

LONGEST_PRIVATE = 34
"""Characters of a private folder's path, see search.on_ray.private_folder."""
LONGEST_SOCKET = 108

ACTOR = """
import os, signal, tempfile
from multiprocessing.connection import Listener
from search.worker.fork_server import fork_server
fork_server(), fork_server()
listener = Listener(family="AF_UNIX")
print(listener.address, tempfile.gettempdir(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def server():
    server = ForkServer()
    server.ensure_running()
    yield server
    server._stop()


def test_a_server_is_kept_until_it_has_grown_beyond_the_bound(server: ForkServer) -> None:
    first = server._forkserver_pid
    assert not stop_if_grown(server), "the first look is what later ones are compared with"
    assert not stop_if_grown(server), "what it imports is far below the bound"
    assert server._forkserver_pid == first
    assert stop_if_grown(server, growth_bytes=-1)
    assert not is_alive(first)
    server.ensure_running()
    assert server._forkserver_pid not in (None, first)
    assert is_alive(server._forkserver_pid)
    assert not stop_if_grown(server), "another is looked at anew"


def test_without_a_server_there_is_nothing_to_end() -> None:
    assert not stop_if_grown(ForkServer(), growth_bytes=-1)


def test_memory_is_a_processs_own(server: ForkServer) -> None:
    assert 0 < private_bytes(server._forkserver_pid) < 2**30


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder in which addresses of sockets are short enough for the system, as in a user's."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_the_socket_of_a_killed_actors_server_is_deleted_with_the_search(short_path: Path) -> None:
    temporary, private = short_path / "tmp", short_path / "own"
    temporary.mkdir()
    private.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ACTOR],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TMPDIR": str(temporary), "CARSEARCH_SOCKETS": str(private)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    socket, elsewhere = done.stdout.split()
    assert Path(socket).parents[1] == private
    assert elsewhere == str(temporary), "all else that is temporary stays where the user wants it"
    assert list(temporary.iterdir()) == []
    assert len(socket) - len(str(private)) + LONGEST_PRIVATE < LONGEST_SOCKET
