"""A study's own experiment: which settings may change, and that changes persist."""

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from search.errors import ExperimentError, StudyError
from search.experiment.changes import RESUMABLE, RETRAINABLE
from search.experiment.experiment import load
from search.study.folder import StudyFolder
from search.study.frozen import changes_asked, frozen_copy, keep_changes, open_experiment, recorded_changes
from search.study.study import Study

EXPERIMENT = """\
name: frozen
data: {root: photos}
train:
  backbone: MobileNet
  weights: none
  image_size: 32
  batch_size: {choice: [8, 16]}
  stages: [{name: head, unfreeze: 0.0, epochs: 1, learning_rate: 0.001}]
search: {trials: 4, budget: {hours: 1.0}}
"""

HOUR = timedelta(hours=1)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A study whose hours are used up."""
    file = tmp_path / "frozen.yaml"
    file.write_text(EXPERIMENT, encoding="utf-8")
    made = StudyFolder(tmp_path / "frozen")
    made.root.mkdir()
    made.experiment.write_text(load(file).resolved_yaml(), encoding="utf-8")
    with Study.create(made.root, "frozen") as study:
        study.set_budget_exhausted()
    return made


def exhausted(folder: StudyFolder) -> bool:
    return Study.open(folder.root, read_only=True).budget_exhausted


def test_a_larger_budget_reopens_the_study(folder):
    before = folder.experiment.read_bytes()
    more = ["search.budget.hours=2", "search.trials=8", "search.finalists.count=2"]
    kept = keep_changes(folder, open_experiment(folder, more, changeable=RESUMABLE))
    assert [str(change) for change in kept] == [
        "search.trials: 4 -> 8",
        "search.budget.hours: 1.0 -> 2",
        "search.finalists.count: default -> 2",
    ]
    assert not exhausted(folder)
    again = open_experiment(folder)
    assert (again.search.budget.hours, again.search.trials, again.search.finalists.count) == (2.0, 8, 2)
    assert folder.experiment.read_bytes() == before, "the frozen file stays as it is; the study has the changes"


def test_changes_are_recorded_with_their_time(folder):
    for trials in (8, 6):
        keep_changes(folder, open_experiment(folder, [f"search.trials={trials}"], changeable=RESUMABLE))
    changes = recorded_changes(folder)
    assert [(change.old, change.new) for change in changes] == [(4, 8), (8, 6)]
    assert all(abs(datetime.now(UTC) - datetime.fromisoformat(change.time)) < HOUR for change in changes)
    assert open_experiment(folder).search.trials == 6


def test_a_study_that_is_open_already_gives_its_changes(folder):
    keep_changes(folder, open_experiment(folder, ["search.trials=8"], changeable=RESUMABLE))
    study = Study.open(folder.root, read_only=True)
    assert open_experiment(folder, study=study) == open_experiment(folder)
    assert open_experiment(folder, study=study).search.trials == 8


def test_a_relative_path_is_resolved_when_given(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keep_changes(folder, open_experiment(folder, ["store.root=cache"], changeable=RESUMABLE))
    monkeypatch.chdir("/")
    assert open_experiment(folder).store.root == tmp_path / "cache"


def test_a_replaced_section_is_stored(folder):
    keep_changes(folder, open_experiment(folder, ["search.budget={gpu_hours: 3}"], changeable=RESUMABLE))
    budget = open_experiment(folder).search.budget
    assert (budget.hours, budget.gpu_hours) == (None, 3.0)


def test_resuming_without_changes_writes_nothing(folder):
    before = folder.log.read_bytes()
    assert keep_changes(folder, open_experiment(folder, changeable=RESUMABLE)) == ()
    assert keep_changes(folder, open_experiment(folder, ["search.trials=4"], changeable=RESUMABLE)) == ()
    assert exhausted(folder)
    assert folder.log.read_bytes() == before


def test_a_finished_study_stays_finished_until_a_change(folder):
    with Study.open(folder.root) as study:
        study.finish()
        assert study.is_finished
    keep_changes(folder, open_experiment(folder, ["search.trials=8"], changeable=RESUMABLE))
    with Study.open(folder.root) as study:
        assert not study.is_finished
        study.finish()
    assert Study.open(folder.root, read_only=True).is_finished


@pytest.mark.parametrize("torn", [b'\0\0\0"}\n', b"\xff\xfe{}\n", b"[1]\n"])
def test_a_change_is_recorded_after_a_torn_line(folder, torn):
    before = folder.log.read_bytes()
    folder.log.write_bytes(before + torn)
    keep_changes(folder, open_experiment(folder, ["search.trials=8"], changeable=RESUMABLE))
    assert open_experiment(folder).search.trials == 8
    assert folder.log.read_bytes().startswith(before)
    assert torn not in folder.log.read_bytes()


def test_a_study_in_use_is_not_changed(folder):
    larger = open_experiment(folder, ["search.trials=8"], changeable=RESUMABLE)
    with Study.open(folder.root), pytest.raises(StudyError, match="is in use by process"):
        keep_changes(folder, larger)
    assert recorded_changes(folder) == ()


@pytest.mark.parametrize(
    ("override", "changeable"),
    [
        ("train.batch_size=8", RESUMABLE),
        ("search.seed=1", RESUMABLE),
        ("search.trialsx=1", RESUMABLE),
        ("data.root=elsewhere", RETRAINABLE),
        ("search.trials=9", RETRAINABLE),
    ],
)
def test_changes_that_alter_finished_trials_are_refused(folder, override, changeable):
    path = override.partition("=")[0]
    with pytest.raises(StudyError, match=f"--set {override}: {path} cannot change in an existing study"):
        open_experiment(folder, [override], changeable=changeable)


def test_a_moved_study_finds_its_policies(tmp_path):
    own = tmp_path / "strong.yaml"
    own.write_text("- HorizontalFlip: {}\n", encoding="utf-8")
    file = tmp_path / "frozen.yaml"
    with_policy = EXPERIMENT.replace("  stages:", "  augment: {policy: {choice: [none, strong.yaml]}}\n  stages:")
    file.write_text(f"{with_policy}retrain: {{augment: {{policy: strong.yaml}}}}\n", encoding="utf-8")
    made = StudyFolder(tmp_path / "made")
    made.policies.mkdir(parents=True)
    with contextlib.chdir(tmp_path):
        text, copies = frozen_copy(load(file), made)
    (name,) = copies
    made.experiment.write_text(text, encoding="utf-8")
    (made.policies / name).write_bytes(copies[name])
    Study.create(made.root, "frozen").close()
    before = open_experiment(made)
    own.unlink()

    moved = StudyFolder(made.root.rename(tmp_path / "moved"))
    after = open_experiment(moved)

    assert not [problem for problem in after.missing_files() if "no such file" in problem.message]
    assert after.tree["train"]["augment"]["policy"]["choice"] == ["none", str(moved.policies / name)]
    assert after.tree["retrain"]["augment"]["policy"] == str(moved.policies / name)
    assert after.space == before.space, "earlier proposals stay within the space"
    assert keep_changes(moved, after) == ()
    (moved.policies / name).unlink()
    missing = [problem for problem in open_experiment(moved).missing_files() if "no such file" in problem.message]
    assert len(missing) == 2
    assert str(made.policies / name) in missing[0].message


def test_a_folder_without_a_study_is_an_error(tmp_path):
    with pytest.raises(StudyError, match="holds no study"):
        open_experiment(StudyFolder(tmp_path / "nothing"))


def test_a_study_with_the_old_key_judge_is_opened(folder: StudyFolder) -> None:
    new = load(folder.experiment, ["data.holdout={fraction: 0.25}"])
    folder.experiment.write_text(new.resolved_yaml().replace("holdout:", "judge:"), encoding="utf-8")
    assert open_experiment(folder).data.holdout_fraction == 0.25
    with pytest.raises(ExperimentError, match=r"data\.judge: was renamed: write `data\.holdout`"):
        load(folder.experiment)


def _file(folder: StudyFolder, text: str = EXPERIMENT) -> Path:
    file = folder.root.parent / "frozen.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("old", "new", "asked"),
    [
        ("", "", ()),
        ("trials: 4", "trials: 16", ("search.trials=16",)),
        ("hours: 1.0", "hours: 3", ("search.budget.hours=3",)),
        ("budget: {hours: 1.0}", "budget: {hours: 1.0}, max_concurrent: 2", ("search.max_concurrent=2",)),
    ],
)
def test_changes_in_the_users_file(folder, old: str, new: str, asked: tuple[str, ...]) -> None:
    assert changes_asked(folder, load(_file(folder, EXPERIMENT.replace(old, new)))) == asked


def test_a_file_of_another_search_is_refused(folder) -> None:
    text = EXPERIMENT.replace("epochs: 1", "epochs: 2").replace("trials: 4", "trials: 16")
    with pytest.raises(StudyError, match=r"other settings \(train\.stages: .*\): .*--replace"):
        changes_asked(folder, load(_file(folder, text)))


def test_changes_by_a_resume_stay(folder) -> None:
    """Running the same command again, as a script does, does not undo changes that the user made by hand."""
    keep_changes(folder, open_experiment(folder, ["search.trials=64"], changeable=RESUMABLE))
    asked = changes_asked(folder, load(_file(folder)))
    assert asked == ()
    assert open_experiment(folder, asked, changeable=RESUMABLE).search.trials == 64


def test_a_studys_own_copies_are_no_other_search(tmp_path) -> None:
    file, made = tmp_path / "frozen.yaml", StudyFolder(tmp_path / "made")
    (tmp_path / "strong.yaml").write_text("- HorizontalFlip: {}\n", encoding="utf-8")
    policy = f"  augment: {{policy: {{choice: [none, {tmp_path / 'strong.yaml'}]}}}}\n  stages:"
    file.write_text(EXPERIMENT.replace("  stages:", policy), encoding="utf-8")
    text, copies = frozen_copy(load(file), made)
    made.policies.mkdir(parents=True)
    made.experiment.write_text(text, encoding="utf-8")
    for name, content in copies.items():
        (made.policies / name).write_bytes(content)
    Study.create(made.root, "frozen").close()
    assert len(copies) == 1
    assert changes_asked(made, load(file)) == changes_asked(made, load(made.experiment)) == ()
    (made.policies / next(iter(copies))).write_text("- VerticalFlip: {}\n", encoding="utf-8")
    with pytest.raises(StudyError, match="other settings"):
        changes_asked(made, load(made.experiment))


def test_a_recording_is_not_a_search(folder) -> None:
    with Study.open(folder.root) as study:
        study.set_recording()
    with pytest.raises(StudyError, match="a recording or a recipe"):
        changes_asked(folder, load(_file(folder)))
