"""A fork server that grows is ended; the next child gets another."""

from multiprocessing.forkserver import ForkServer

import pytest

from search.cluster.memory import own_bytes
from search.cluster.server import end_if_grown
from tests.search.processes import is_alive


@pytest.fixture
def server():
    server = ForkServer()
    server.ensure_running()
    yield server
    server._stop()


def test_a_server_is_kept_until_it_has_grown_beyond_the_bound(server: ForkServer) -> None:
    first = server._forkserver_pid
    assert not end_if_grown(server), "the first look is what later ones are compared with"
    assert not end_if_grown(server), "what it imports is far below the bound"
    assert server._forkserver_pid == first
    assert end_if_grown(server, growth_bytes=-1)
    assert not is_alive(first)
    server.ensure_running()
    assert server._forkserver_pid not in (None, first)
    assert is_alive(server._forkserver_pid)
    assert not end_if_grown(server), "another is looked at anew"


def test_without_a_server_there_is_nothing_to_end() -> None:
    assert not end_if_grown(ForkServer(), growth_bytes=-1)


def test_memory_is_a_processs_own(server: ForkServer) -> None:
    assert 0 < own_bytes(server._forkserver_pid) < 2**30
