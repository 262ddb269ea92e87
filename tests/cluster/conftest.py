"""The hosts of a test."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.place import Place
from tests.helpers.network.hosts import Hosts, why_no_hosts


@pytest.fixture(scope="session")
def _hosts_are_possible() -> None:
    why = why_no_hosts()
    if why:
        pytest.skip(why)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _hosts_are_possible: None) -> Iterator[Place]:
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with Hosts(tmp_path) as hosts:
        yield Place(tmp_path, hosts)
