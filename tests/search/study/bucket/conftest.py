"""A bucket, on an S3 server or in a folder, and machines that mirror its studies."""

from collections.abc import Callable
from pathlib import Path

import pytest

from search.experiment.node_store import keep_pointer
from search.study.bucket.bucket import Bucket
from search.study.bucket.mirror import StudyMirror
from tests.helpers.network.s3_server import S3Server


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of the folder of all studies."""
    if request.param == "file":
        return f"file://{tmp_path / 'far' / 'studies'}"
    server: S3Server = request.getfixturevalue("s3")
    return server.url(f"{tmp_path.name}/studies")


@pytest.fixture
def machine(url: str, tmp_path: Path) -> Callable[[str], StudyMirror]:
    """Makes the mirror of the study `cars` on a machine of some name."""

    def make(name: str) -> StudyMirror:
        keep_pointer(tmp_path / name, url)
        base, mark, query = url.partition("?")
        return StudyMirror(Bucket(f"{base}/cars{mark}{query}"), tmp_path / name / "cars")

    return make
