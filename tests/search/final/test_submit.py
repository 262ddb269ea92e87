"""`submit` and `predict` on folders of photos without a sample submission."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import Ran

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def without_sample(retrained: Ran, tmp_path: Path) -> Iterator[Ran]:
    """The study without its sample, and three photos to predict, one of them broken."""
    data = retrained.cwd / "data"
    shutil.move(data / "sample-submission.csv", tmp_path)
    shutil.move(data / "test_upload", tmp_path)
    photos = sorted((tmp_path / "test_upload").iterdir())
    (data / "test").mkdir()
    shutil.copy(photos[0], data / "test" / "10.jpg")
    shutil.copy(photos[1], data / "test" / "9.jpg")
    (data / "test" / "2.jpg").write_bytes(b"broken")
    yield retrained
    shutil.rmtree(data / "test")
    shutil.move(tmp_path / "sample-submission.csv", data)
    shutil.move(tmp_path / "test_upload", data)


def test_submit_answers_every_photo_in_natural_order(without_sample: Ran) -> None:
    done = run_cli("submit", str(without_sample.folder.root), cwd=without_sample.cwd)
    assert done.returncode == 0, done.stderr
    with without_sample.folder.submission.open(encoding="utf-8", newline="") as rows:
        header, *answers = csv.reader(rows)
    assert header == ["Id", "Category"]
    assert [id_ for id_, _ in answers] == ["2.jpg", "9.jpg", "10.jpg"]
    assert {label for _, label in answers} <= {"0", "1", "2"}
    assert "warning: 2.jpg cannot be read: it got the most frequent class" in done.stderr.splitlines()

    photos = without_sample.cwd / "data" / "test"
    predicted = run_cli("predict", str(without_sample.folder.model), "data/test", cwd=without_sample.cwd)
    lines = [line.split("\t") for line in predicted.stdout.splitlines()]
    assert [name for name, _, _ in lines] == ["data/test/9.jpg", "data/test/10.jpg"]
    assert [label for _, label, _ in lines] == [label for _, label in answers[1:]]
    assert predicted.returncode == 1
    assert "data/test/2.jpg: " in predicted.stderr

    for photo in photos.iterdir():
        photo.unlink()
    refused = run_cli("submit", str(without_sample.folder.root), cwd=without_sample.cwd)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"carsearch: no photos to predict: put them into {photos}, or predict any folder with"
        f" 'carsearch predict {without_sample.folder.model} FOLDER'\n"
    )
    empty = run_cli("predict", str(without_sample.folder.model), "data/test", cwd=without_sample.cwd)
    assert (empty.returncode, empty.stderr) == (1, "no photos below data/test\n")
