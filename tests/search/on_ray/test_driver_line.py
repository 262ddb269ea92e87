"""A worker ends when its driver is gone, and only then."""

import socket
import threading
from collections.abc import Iterator

import pytest

from search.on_ray import driver_line
from search.on_ray.driver_line import follow_driver

SOON_S = 10.0


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_line, "_PAUSE_S", 0.02)
    monkeypatch.setattr(driver_line, "_followed", set())  # the system may give a port of an earlier test again


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(SOON_S)
        yield listening


def followed(server: socket.socket, silent_s: float = 60.0) -> threading.Event:
    """Set once the worker would have ended."""
    ended = threading.Event()
    follow_driver(f"127.0.0.1:{server.getsockname()[1]}", silent_s, end=ended.set)
    return ended


def test_a_worker_ends_once_nothing_listens_at_its_drivers_address(server: socket.socket) -> None:
    ended = followed(server)
    line, _ = server.accept()
    assert not ended.is_set()
    server.close()
    line.close()  # as the kernel does for a killed process
    assert ended.wait(SOON_S)


def test_a_driver_that_closes_the_connection_is_called_again(server: socket.socket) -> None:
    ended = followed(server)
    for _ in range(3):
        line, _ = server.accept()
        line.sendall(b"settings")
        line.close()
    line, _ = server.accept()
    assert not ended.is_set()
    server.close()
    line.close()
    assert ended.wait(SOON_S)


def test_an_address_that_was_never_reached_proves_nothing(server: socket.socket) -> None:
    server.close()
    ended = threading.Event()
    follow_driver("127.0.0.1:1", 0.0, end=ended.set)
    assert not ended.wait(0.3)


def test_silence_counts_from_the_last_sign_of_life(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_line, "_listen", lambda _: driver_line._KEEPALIVE_S)  # the kernel has given up
    calls = []

    def no_answer(address: tuple[str, int], timeout: float) -> socket.socket:
        if address == server.getsockname():  # threads of earlier tests still call their own addresses
            calls.append(address)
            if len(calls) > 1:
                raise TimeoutError
        return connect(address, timeout)

    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", no_answer)
    ended = followed(server, silent_s=driver_line._KEEPALIVE_S + 0.1)
    assert ended.wait(SOON_S)
    assert len(calls) > 2, "it has tried again meanwhile"


def test_a_driver_is_followed_once(server: socket.socket) -> None:
    before = threading.active_count()
    followed(server)
    followed(server)
    assert threading.active_count() == before + 1
