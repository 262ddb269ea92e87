"""What a later call of `carsearch run --hours` uses and prints, and how commands and the report name it."""

from dataclasses import replace
from pathlib import Path

import pytest

from search.api import steps
from search.cli import whole_run
from search.cli.whole_run import run_within
from search.experiment.changes import Change
from search.experiment.experiment import Experiment, load
from search.policy.time_plan import DONE, ENSEMBLE, FINAL, SCORING
from search.study.folder import StudyFolder
from search.study.run_hours import WholeRun
from search.study.study import Study
from tests.helpers.search.untrained_study import BEGUN, untrained_study

AT_FINAL = replace(BEGUN, counted=(), has_other=False)


def keep(folder: StudyFolder, whole: WholeRun) -> Study:
    """Stores it; returns the study as commands read it."""
    with Study.open(folder.root) as study:
        whole.keep(study)
    return Study.open(folder.root, read_only=True)


@pytest.fixture
def searched(tmp_path: Path) -> tuple[StudyFolder, Experiment]:
    folder, experiment = untrained_study(tmp_path, "retrain.folds=2", per_class=5)
    keep(folder, AT_FINAL)
    return folder, experiment


def change(key: str) -> Change:
    return Change(key, 1, 2)


def test_settings_that_no_step_after_the_search_uses_are_told() -> None:
    checkpoints = ("checkpoints.quota_gb", "checkpoints.full_disk_minutes")
    of_search = ("trials", "budget.hours", "deadline.epoch_factor", *checkpoints)
    changes = [*(change(f"search.{key}") for key in of_search), change("store.root")]

    def unused(stage: str) -> list[str]:
        return [one.key.removeprefix("search.") for one in whole_run._unused(changes, stage)]

    assert unused(FINAL) == ["trials", "budget.hours", "checkpoints.quota_gb"]
    assert unused(ENSEMBLE) == unused(SCORING) == list(of_search)
    assert unused(DONE) == [*of_search, "store.root"]


def test_after_the_search_changed_settings_are_used_or_named(
    searched: tuple[StudyFolder, Experiment], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, experiment = searched
    used: list[Experiment] = []
    monkeypatch.setattr(whole_run, "_finals_at_once", lambda *_: 1)
    monkeypatch.setattr(whole_run, "retrain_winner", lambda _, asked, __: used.append(asked))
    monkeypatch.setattr(whole_run, "retrain_others", lambda *_: None)
    monkeypatch.setattr(whole_run, "_ensemble", lambda *_: False)
    monkeypatch.setattr(whole_run, "_submit", lambda *_: None)
    monkeypatch.setattr(steps, "renew_report", lambda *_: None)
    file = folder.root.parents[1] / "tiny.yaml"
    same = [f"results={folder.root.parent}", f"data.root={experiment.data.root}", "retrain.folds=2"]
    changed = load(file, [*same, "search.deadline.first_epoch_minutes=77", "search.trials=50"])
    run_within(changed, 99.0, address=None, replace_study=False, or_resume=True)
    assert [one.search.deadline.first_epoch_minutes for one in used] == [77.0]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not used any more: ")]
    (line,) = told
    assert line.startswith("not used any more: search.trials: ")
    assert " -> 50; the search is over" in line
    study = Study.open(folder.root, read_only=True)
    assert study.changes == (), "as `retrain --set` uses them"
    assert study.is_finished
    assert WholeRun.of(study).is_done
    run_within(changed, 99.0, address=None, replace_study=False, or_resume=True)
    assert capsys.readouterr().out.count("not used any more: ") == 2, "nothing is left to do"
