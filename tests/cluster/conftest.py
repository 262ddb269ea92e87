"""The hosts of a test."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.study.folder import StudyFolder
from tests.cluster.place import SAME_AT_ONCE, BucketPlace, Place, Values, recorded, values
from tests.helpers.network.hosts import Hosts, why_no_hosts
from tests.helpers.network.s3_server import KEY, SECRET
from tests.helpers.search.processes import run_cli
from tests.helpers.search.tiny import write_tiny


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


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Values:
    """What SAME_AT_ONCE ends with on one machine where nothing happens."""
    cwd = tmp_path_factory.mktemp("undisturbed")
    write_tiny(cwd, SAME_AT_ONCE)
    done = run_cli("run", "tiny.yaml", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return values(recorded(StudyFolder(cwd / "results" / "tiny")))


@pytest.fixture
def same_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _hosts_are_possible: None) -> Iterator[Place]:
    """A place for that search."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with Hosts(tmp_path) as hosts:
        yield Place(tmp_path, hosts, SAME_AT_ONCE)


@pytest.fixture
def bucket_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _hosts_are_possible: None) -> Iterator[BucketPlace]:
    """A place for that search where the hosts share no folder."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("CARSEARCH_STORE", str(tmp_path / "store"))
    with Hosts(tmp_path) as hosts:
        place = BucketPlace(tmp_path, hosts, SAME_AT_ONCE, tmp_path / "store")
        yield place
        place.server.kill()
