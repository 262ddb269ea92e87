"""A study's own experiment: what may change in it, and that the change lasts."""

from pathlib import Path

import pytest

from search.errors import StudyError
from search.experiment.experiment import load
from search.folder import StudyFolder
from search.frozen import RESUMABLE, RETRAINABLE, keep_changes, open_experiment
from search.study import Study

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


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A study of which the hours are used up."""
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


def test_a_larger_budget_reopens_the_study_and_stays(folder):
    more = ["search.budget.hours=2", "search.trials=8", "search.finalists.count=2"]
    larger = open_experiment(folder, more, changeable=RESUMABLE)
    keep_changes(folder, larger)
    assert not exhausted(folder)
    again = open_experiment(folder)
    assert (again.search.budget.hours, again.search.trials, again.search.finalists.count) == (2.0, 8, 2)


def test_resuming_without_changes_leaves_file_and_budget_alone(folder):
    before = folder.experiment.stat().st_mtime_ns
    keep_changes(folder, open_experiment(folder, changeable=RESUMABLE))
    assert exhausted(folder)
    assert folder.experiment.stat().st_mtime_ns == before


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
def test_what_would_change_the_meaning_of_finished_trials_is_refused_by_name(folder, override, changeable):
    path = override.partition("=")[0]
    with pytest.raises(StudyError, match=f"--set {override}: {path} cannot change in an existing study"):
        open_experiment(folder, [override], changeable=changeable)


def test_a_folder_without_a_study_is_named(tmp_path):
    with pytest.raises(StudyError, match="holds no study"):
        open_experiment(StudyFolder(tmp_path / "nothing"))
