"""Access to a cluster is checked before Ray connects, here with a fake control store."""

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from search.errors import ClusterError
from search.on_ray.auth import AUTH_ENV, AUTH_PATH_ENV, Token
from search.on_ray.check_access import Access, access_token, check_access, resolve_address, try_access
from tests.helpers.network.fake_gcs import FakeGcs, fake_gcs

RIGHT, WRONG = "r" * 64, "w" * 64


@pytest.fixture
def gcs() -> Iterator[tuple[FakeGcs, str]]:
    with fake_gcs(RIGHT) as standing:
        yield standing


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (AUTH_ENV, AUTH_PATH_ENV, "RAY_ADDRESS", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_users_token_opens(gcs: tuple[FakeGcs, str], home: Path) -> None:
    handler, address = gcs
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(RIGHT + "\n")
    assert access_token(address) == RIGHT
    assert handler.shown == [None, f"Bearer {RIGHT}"]


def test_without_a_token_the_places_are_named(gcs: tuple[FakeGcs, str], home: Path) -> None:
    with pytest.raises(ClusterError) as raised:
        access_token(gcs[1])
    message = str(raised.value)
    assert f"{gcs[1]} requires a token, and none was found" in message
    assert all(place in message for place in (f"{home}/.ray/auth_token", AUTH_PATH_ENV, AUTH_ENV))
    assert "\n" not in message


def test_a_wrong_token_is_named_by_its_place_and_not_told(
    gcs: tuple[FakeGcs, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "token").write_text(WRONG)
    monkeypatch.setenv(AUTH_PATH_ENV, str(home / "token"))
    with pytest.raises(ClusterError, match=f"refuses the token from {home}/token") as raised:
        access_token(gcs[1])
    assert WRONG not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_open_cluster_is_warned_of_and_shown_no_token(
    gcs: tuple[FakeGcs, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    handler, address = gcs
    handler.token = None
    monkeypatch.setenv(AUTH_ENV, RIGHT)
    monkeypatch.setattr(logging.getLogger("search"), "propagate", True)
    check_access(address)
    assert caplog.text == "", "the warning comes only when the cluster is joined"
    assert access_token(address) is None
    assert handler.shown == [None, None]
    assert f"{address} requires no token" in caplog.text


def test_an_unreachable_cluster_is_reported_at_once() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(ClusterError, match=f"no Ray cluster answers at {address}"):
            access_token(address)
    assert time.monotonic() - started < 10


def test_another_service_is_no_cluster(gcs: tuple[FakeGcs, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.on_ray.check_access.CHECK_ALIVE", "/another/Service")
    assert try_access(gcs[1], Token(RIGHT, "")) is Access.UNREACHABLE


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "Ray's client protocol cannot carry a search"),
        ("head", "expected auto or HOST:PORT"),
        ("local", "leave it out to search on this machine"),
    ],
)
def test_addresses_that_are_none(address: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        resolve_address(address)
