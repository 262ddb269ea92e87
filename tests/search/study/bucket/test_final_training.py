"""The final training has a record of its own, which one process may write while another searches."""

import shutil
from pathlib import Path

import pytest

from search.experiment.node_store import keep_pointer
from search.study.bucket import driver_lock
from search.study.bucket.places import refresh
from search.study.final_lock import clear_retrain
from search.study.folder import StudyFolder
from search.study.study import Study


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    """A study in a bucket, which is a folder here."""
    monkeypatch.setattr(driver_lock, "_SETTLE_S", 0.01)
    keep_pointer(tmp_path / "studies", f"file://{tmp_path / 'far'}")
    (tmp_path / "far" / "cars").mkdir(parents=True)
    (tmp_path / "far" / "cars" / "experiment.yaml").write_text("name: cars")
    found = StudyFolder(tmp_path / "studies" / "cars")
    found.retrain.mkdir(parents=True)
    return found


def test_both_records_are_stored_and_come_back(folder: StudyFolder, tmp_path: Path) -> None:
    with Study.create(folder.root, "cars") as searched, Study.create(folder.retrain, "final") as final:
        searched.set_value("whose", "search")
        final.set_value("whose", "final")
        searched.set_value("again", 1)
    shutil.rmtree(folder.root)
    refresh(folder.root)
    with Study.open(folder.root) as searched, Study.open(folder.retrain) as final:
        assert (searched.get_value("whose"), searched.get_value("again")) == ("search", 1)
        assert (final.get_value("whose"), final.get_value("again")) == ("final", None)
    assert not list((tmp_path / "far").rglob("driver.json"))


def test_a_final_training_that_starts_over_leaves_nothing_of_the_old_one(folder: StudyFolder, tmp_path: Path) -> None:
    with Study.create(folder.root, "cars"), Study.create(folder.retrain, "final") as final:
        final.set_value("old", 1)
        folder.scores.write_text("{}")
    assert (tmp_path / "far" / "cars" / "retrain" / "scores.json").is_file()
    clear_retrain(folder)
    with Study.create(folder.retrain, "final") as final:
        assert final.get_value("old") is None
        final.set_value("new", 2)
    shutil.rmtree(folder.root)
    refresh(folder.root)
    final = Study.open(folder.retrain, read_only=True)
    assert (final.get_value("old"), final.get_value("new")) == (None, 2)
    assert not folder.scores.exists()
