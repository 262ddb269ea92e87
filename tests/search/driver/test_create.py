"""Studies are published atomically, and leftovers of a killed creation do no harm."""

import os
from pathlib import Path

import pytest

from carcls.demo.sample import write_sample
from carcls.errors import DataError
from search.driver.create import create_study, study_of
from search.errors import StudyError
from search.experiment.experiment import Experiment, load
from search.study.folder import StudyFolder
from search.study.frozen import open_experiment
from search.study.record.journal import WriterLock
from search.study.study import Study
from tests.helpers.search.tiny import EXPERIMENT, write_tiny

OLD_S = 1_000_000_000


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.chdir(tmp_path)
    return load(write_tiny(tmp_path))


def begin(experiment: Experiment) -> StudyFolder:
    """The experiment's study with a trial, so that it counts as touched."""
    folder = create_study(experiment)
    with Study.open(folder.root) as study:
        study.add_trial(experiment.baseline, experiment.bind(experiment.baseline), is_baseline=True)
    return folder


def names(results: Path) -> list[str]:
    return sorted(path.name for path in results.iterdir())


def test_everything_is_synced_before_the_folder_is_published(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test cannot cut the power, but it can check the order of fsync and rename."""
    events: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(descriptor: int) -> None:
        fsync(descriptor)
        events.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))

    def watched_rename(source: Path, target: Path) -> None:
        events.append(("rename", str(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    folder = create_study(experiment)
    born = events.index(("rename", str(folder.root)))
    before = {Path(path) for kind, path in events[:born] if kind == "fsync"}
    draft = next(path.parent for path in before if path.name == "split.csv" and path.parent.name.startswith(".tiny-"))
    inside = {path.relative_to(folder.root) for path in folder.root.rglob("*")}
    assert {draft / path for path in inside} <= before
    assert draft in before
    assert events[born + 1] == ("fsync", str(folder.root.parent))


def test_only_drafts_of_killed_creations_are_deleted(experiment: Experiment) -> None:
    dead, living, other = (
        experiment.results / name for name in (".tiny-dead0000", ".tiny-living00", ".tiny-x-dead0000")
    )
    for draft in (dead, living, other):
        draft.mkdir(parents=True)
        (draft / "split.csv").touch()
    (dead / "driver.lock").write_text("process 1 on here\n", encoding="utf-8")
    lock = WriterLock.acquire(living)
    try:
        create_study(experiment)
        assert names(experiment.results) == [".tiny-living00", ".tiny-x-dead0000", "tiny"]
    finally:
        lock.release()


@pytest.mark.parametrize("has_lock", [False, True])
def test_an_unlocked_draft_stays_for_a_minute(experiment: Experiment, has_lock: bool) -> None:
    draft = experiment.results / ".tiny-justborn"
    draft.mkdir(parents=True)
    if has_lock:
        (draft / "driver.lock").touch()
    begin(experiment)
    assert names(experiment.results) == [".tiny-justborn", "tiny"]

    os.utime(draft, (OLD_S, OLD_S))
    with pytest.raises(StudyError, match="exists already"):
        create_study(experiment)
    assert names(experiment.results) == ["tiny"]


def test_a_replacement_killed_between_its_renames_restores_the_old_study(experiment: Experiment) -> None:
    folder = begin(experiment)
    mark = folder.root / "mark"
    mark.touch()
    folder.root.rename(experiment.results / ".tiny.old-dead0000")
    with pytest.raises(StudyError, match="exists already"):
        create_study(experiment)
    assert mark.exists()
    assert names(experiment.results) == ["tiny"]


def test_a_replacement_killed_after_its_renames_keeps_the_new_study(experiment: Experiment) -> None:
    folder = begin(experiment)
    (experiment.results / ".tiny.old-dead0000" / "trials").mkdir(parents=True)
    with pytest.raises(StudyError, match="exists already"):
        create_study(experiment)
    assert names(experiment.results) == ["tiny"]
    assert StudyFolder(folder.root).log.is_file()


def test_a_study_that_appears_meanwhile_is_not_replaced(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    import search.driver.create

    real = search.driver.create.sync_all

    def another_is_faster(root: Path) -> None:
        (experiment.results / "tiny").mkdir()
        (experiment.results / "tiny" / "mark").touch()
        real(root)

    monkeypatch.setattr(search.driver.create, "sync_all", another_is_faster)
    with pytest.raises(StudyError, match="exists already"):
        create_study(experiment)
    assert names(experiment.results) == ["tiny"]
    assert names(experiment.results / "tiny") == ["mark"]


def test_a_new_study_is_untouched(experiment: Experiment) -> None:
    folder = create_study(experiment)
    assert (folder.root / "driver.lock").read_text(encoding="utf-8") == ""
    with Study.open(folder.root) as study:
        assert (study.records(), study.changes, study.is_finished) == ((), (), False)


def test_a_study_without_trials_is_created_again(experiment: Experiment) -> None:
    """Its first run failed early, without weights or a GPU, so its frozen settings have no results."""
    create_study(experiment)
    changed = load(experiment.path, ["train.batch_size=4"])
    folder = create_study(changed)
    assert open_experiment(folder).bind(changed.baseline).batch_size == 4
    assert names(folder.root.parent) == ["tiny"]


def test_a_study_with_a_trial_is_not_created_again(experiment: Experiment) -> None:
    create_study(experiment)
    assert study_of(experiment) is None
    folder = begin(experiment)
    assert study_of(experiment) == folder
    with pytest.raises(StudyError, match="exists already"):
        create_study(experiment)


def test_a_study_with_a_running_driver_is_not_created_again(experiment: Experiment) -> None:
    folder = create_study(experiment)
    mark = folder.root / "mark"
    mark.touch()
    with Study.open(folder.root), pytest.raises(StudyError):
        create_study(experiment)
    assert mark.exists()


def test_a_search_whose_photos_allow_fewer_folds_than_its_final_training_is_refused_before_it_begins(tmp_path):
    write_sample(tmp_path / "data", classes=3, train_per_class=5, test_per_class=1)
    file = tmp_path / "tiny.yaml"
    file.write_text(EXPERIMENT.replace("retrain:\n", "retrain:\n  folds: 20\n"), encoding="utf-8")
    with pytest.raises(DataError, match="15 photos are too few for 20 folds"):
        create_study(load(file, [f"results={tmp_path / 'results'}", f"data.root={tmp_path / 'data'}"]))
    assert list((tmp_path / "results").glob("*")) == []
