"""What a node answers before the first trial of a study in a bucket, which is a folder here."""

from pathlib import Path

import pytest

from search.experiment.node_store import study_on_node
from search.experiment.settings import StoreSettings
from search.on_ray.cluster.probe import _probe, _reads_back, _remove, node_problems
from search.worker.node_check import requirements

MARKER, NONCE = ".probe-a", "n0nce"


@pytest.fixture
def far(tmp_path: Path) -> Path:
    far, data = tmp_path / "far" / "cars", tmp_path / "data"
    for folder in (far, data):
        folder.mkdir(parents=True)
    (data / "a.jpg").write_bytes(b"12")
    (far / "split.csv").write_text("Id,path,Category,digest,fold\na.jpg,a.jpg,0,00,train\n", encoding="utf-8")
    return far


def answer(far: Path) -> dict[str, str | None]:
    root = far.parents[1]
    return _probe(f"file://{far}", str(root / "data"), {"root": str(root / "node")}, MARKER, NONCE)


def test_a_node_that_reads_and_writes_the_bucket_is_fit(far: Path) -> None:
    url = f"file://{far}"
    left = study_on_node(url, StoreSettings(root=far.parents[1] / "node")) / "trials" / "0003"
    left.mkdir(parents=True)
    found = answer(far)
    assert node_problems(found, requirements(far / "split.csv", far.parents[1] / "data")) == []
    assert _reads_back(url, MARKER, NONCE)
    assert not _reads_back(url, MARKER, "other"), "another storage under the same address"
    _remove(url, MARKER)
    assert [path.name for path in far.iterdir()] == ["split.csv"]
    assert not left.exists(), "what a killed worker has left"


def test_a_node_that_cannot_write_there_is_named_with_url_and_cause(far: Path) -> None:
    requires = requirements(far / "split.csv", far.parents[1] / "data")
    far.rename(far.with_name("aside"))
    far.write_text("a file in the way")
    (problem,) = node_problems(answer(far), requires)
    assert problem.startswith(f"file://{far}: ")
    assert "File exists" in problem
    assert "every node must read and write the study there" in problem
