"""`predict` and `submit` accept a final model that averages trainings."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from carcls.dataset.loading import load_dataset
from carcls.inference.ensemble import averaged
from carcls.inference.export import export_model
from carcls.input.pixels import decode
from carcls.splits.split import make_split
from carcls.splits.split_files import write_split
from search.experiment.experiment import load
from search.final.submit import submit
from search.study.folder import StudyFolder
from tests.helpers.photos.tiny_members import tiny_member
from tests.helpers.search.processes import run_cli
from tests.helpers.search.tiny import FIXED, write_tiny

SIZE_PX = 24
CLASS_NAMES = ("0", "1", "2")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    """The files that `submit` reads: a split, and the average of two trainings."""
    monkeypatch.chdir(tmp_path)
    experiment = load(write_tiny(tmp_path, FIXED))
    folder = StudyFolder(tmp_path / "results" / "tiny")
    folder.retrain.mkdir(parents=True)
    write_split(make_split(load_dataset(experiment.data.root, processes=1), fraction=0.25, seed=0), folder.split)
    export_model(
        folder.model,
        averaged(_members()),
        class_names=CLASS_NAMES,
        config=experiment.bind({}),
        size_px=SIZE_PX,
        tta_views=("plain", "flip"),
        members=2,
    )
    return folder


def _members():
    return [tiny_member(0, 12, SIZE_PX, names=CLASS_NAMES), tiny_member(1, 11, SIZE_PX, names=CLASS_NAMES)]


def _by_hand(photos: list[Path]) -> np.ndarray:
    """(n, classes) mean over members and views."""
    pixels = np.stack([decode(photo, SIZE_PX) for photo in photos])
    views = (pixels, pixels[:, :, ::-1])
    outputs = [member.classifier.model.predict_on_batch(view) for member in _members() for view in views]
    return np.mean(outputs, axis=0)


def test_submit_and_predict_answer_with_the_mean_of_the_members(study: StudyFolder, tmp_path: Path) -> None:
    photos = sorted((tmp_path / "data" / "test_upload").iterdir())
    expected = _by_hand(photos)
    answers = {photo.name: CLASS_NAMES[best] for photo, best in zip(photos, expected.argmax(axis=1), strict=True)}
    assert len(set(answers.values())) > 1, "else any model would pass"

    end = submit(study, load(tmp_path / "tiny.yaml"), say=lambda _: None)
    with study.submission.open(encoding="utf-8", newline="") as rows:
        header, *written = csv.reader(rows)
    assert header == ["Id", "Category"]
    assert dict(written) == answers
    assert (end.rows, end.fallback_ids) == (len(photos), ())

    shutil.copy(study.model, tmp_path / "model.keras")
    done = run_cli("predict", "model.keras", *(f"data/test_upload/{photo.name}" for photo in photos), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert {Path(name).name: label for name, label, _ in lines} == answers
    assert [float(probability) for _, _, probability in lines] == pytest.approx(expected.max(axis=1), abs=6e-5)
