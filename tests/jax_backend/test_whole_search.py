"""Every command of a search on JAX, where TensorFlow is not installed: run, report, retrain, submit, predict."""

import csv
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("tensorflow") is not None or find_spec("jax") is None:
    pytest.skip(
        "`make jax-release` runs this, in an environment with JAX and without TensorFlow", allow_module_level=True
    )

from carcls.demo.sample import write_sample
from search.study.folder import StudyFolder
from search.study.study import Study

pytestmark = [pytest.mark.slow, pytest.mark.release]  # minutes of compiling

EXPERIMENT = """
name: cars
data: {root: photos, validation: {fraction: 0.25}}
train:
  backbone: MobileNetV2
  alpha: 0.35
  weights: sample
  image_size: 32
  batch_size: 16
  head: {dropout: {uniform: [0.0, 0.5]}}
  augment: {policy: light, views: 2}
  stages:
    - {name: head, unfreeze: 0.0, epochs: 2, learning_rate: {loguniform: [1e-3, 1e-2]}}
    - {name: top, unfreeze: 0.1, epochs: 1, learning_rate: 1e-4}
search: {trials: 2, resources: {cpus_per_trial: 1}}
tta: {views: [plain, flip]}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    write_sample(folder / "photos", train_per_class=8, test_per_class=2)
    (folder / "cars.yaml").write_text(EXPERIMENT)
    return folder


def carsearch(place: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "search.cli", *arguments],
        cwd=place,
        env=os.environ | {"KERAS_BACKEND": "jax", "CARSEARCH_STORE": str(place / "store"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(1800)
def test_search_retrain_report_and_submit(place):
    carsearch(place, "run", "cars.yaml")
    records = Study.open(place / "results" / "cars", read_only=True).records()
    assert [record.fidelity for record in records] == [3, 3] or max(record.fidelity for record in records) == 3
    assert all(record.cause is None for record in records)

    carsearch(place, "retrain", "results/cars")
    folder = StudyFolder(place / "results" / "cars")
    assert folder.model.exists()
    carsearch(place, "report", "results/cars")
    assert "MobileNetV2" in folder.report.read_text()
    carsearch(place, "submit", "results/cars")
    with folder.submission.open(newline="") as rows:
        answers = {row["Id"]: row["Category"] for row in csv.DictReader(rows)}
    photos = sorted(path.name for path in (place / "photos" / "test_upload").iterdir())
    assert sorted(answers) == photos

    said = carsearch(place, "predict", str(folder.model), f"photos/test_upload/{photos[0]}")
    assert said.split("\t")[1] == answers[photos[0]]

    compiled = [path.name for path in (place / "store" / "compiled").iterdir()]
    assert len(compiled) == 1
    assert compiled[0].startswith("jax-"), "later processes find what earlier ones compiled"
