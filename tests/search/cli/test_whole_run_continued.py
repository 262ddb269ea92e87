"""What a later call of `carsearch run --hours` uses and prints, and how commands and the report name it."""

from dataclasses import replace
from pathlib import Path

import pytest

from search.api import steps
from search.cli import app, whole_run, whole_run_finals
from search.cli.outcomes import show_status
from search.cli.whole_run import _finish, run_within
from search.cli.whole_run_finals import retrain_winner
from search.errors import StudyError
from search.experiment.changes import Change
from search.experiment.experiment import Experiment, load
from search.final import retrain
from search.final.final_study import open_final_study
from search.final.retrain import final_config
from search.policy.records import TrialState
from search.policy.time_plan import DONE, ENSEMBLE, FINAL, SCORING, SEARCH, Begun
from search.progress.closing_lines import search_closing
from search.report.sections.next_steps import commands, ended_text
from search.study.folder import StudyFolder
from search.study.frozen import changes_asked, where_it_lies
from search.study.run_hours import WholeRun, command_of
from search.study.study import Study
from search.terminal import logs
from tests.helpers.search.trial_builders import climb, trial
from tests.helpers.search.untrained_study import BEGUN, FOLDS, finish_training, untrained_study

AT_FINAL = replace(BEGUN, counted=(), has_other=False)
OR_RESUME = "'carsearch run ... --or-resume'"


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


@pytest.fixture
def begun(searched: tuple[StudyFolder, Experiment]) -> tuple[StudyFolder, Experiment]:
    """With one of two folds trained."""
    folder, experiment = searched
    folder.retrain.mkdir()
    asked = replace(experiment, folds=FOLDS)
    with open_final_study(folder, asked, final_config(folder, asked, 0)) as study:
        finish_training(study, 0, study.config(0))
        study.set_elapsed_s(60.0)
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
    monkeypatch.setattr(steps, "write_report_or_warn", lambda *_: None)
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


def test_a_begun_final_training_is_planned_with_its_folds_and_what_is_left_of_it() -> None:
    record = trial(0, TrialState.COMPLETE, climb([0.5], [0.6], [0.7]))
    run = WholeRun(hours=1.0, outside_s=0.0, folds=2, is_refitted=False, final_ratio=2.0, at_once=1, stage=FINAL)
    one_s = 1.25 * run.estimated_s(record)
    plan = run.plan([record], searched_s=0.0, begun=Begun(4, 0.5))
    assert (plan.folds, plan.seconds(FINAL), plan.seconds(ENSEMBLE)) == (4, pytest.approx(2 * one_s), 108.0)
    late = run.plan([record], searched_s=3600.0 - 180.0 - 2 * one_s - 8.0, begun=Begun(4, 0.5))
    assert (late.seconds(FINAL), late.seconds(ENSEMBLE)) == (pytest.approx(2 * one_s), pytest.approx(8.0))
    over = run.plan([record], searched_s=3600.0, begun=Begun(4, 0.5))
    assert (over.folds, sum(phase.seconds for phase in over.phases)) == (4, 0.0)


def test_resuming_a_final_training_shows_the_folds_that_it_goes_on_with(
    begun: tuple[StudyFolder, Experiment], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, experiment = begun
    study = keep(folder, replace(AT_FINAL, hours=1e-3))
    trained: list[int] = []
    monkeypatch.setattr(whole_run_finals, "run_retrain", lambda _, final, **__: trained.append(final.folds))
    show_status(folder, experiment, study)
    shown, reported = capsys.readouterr().out, ended_text(folder, study, experiment)
    retrain_winner(folder, experiment, None)
    printed = capsys.readouterr().out
    assert trained == [FOLDS]
    for text in (shown, printed, reported):
        assert f"final training of {FOLDS} folds: " in text
        assert "no final training fits" not in text
    assert "plan: 0.0 min of 0.1 min left" in shown, "the minute of the earlier call counts"


def test_a_finished_run_reports_what_it_took_and_uses_the_model_that_it_submitted(
    searched: tuple[StudyFolder, Experiment], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, experiment = searched
    keep(folder, replace(AT_FINAL, stage=SCORING, outside_s=120.0, uses_ensemble=True))
    folder.ensemble.mkdir()
    folder.retrain.mkdir()
    for model in (folder.model, folder.ensemble_model):
        model.write_bytes(b"a model")
    (experiment.data.root / "test_upload").mkdir()
    (experiment.data.root / "test_upload" / "1.jpg").touch()
    reported: list[tuple[str, str]] = []

    def renew(there: StudyFolder, of: Experiment) -> None:
        study = Study.open(there.root, read_only=True)
        reported.append((ended_text(there, study, of), commands(there, of, study)[0].text))

    monkeypatch.setattr(whole_run, "_submit", lambda *_: None)
    monkeypatch.setattr(steps, "write_report_or_warn", renew)
    _finish(folder, experiment, None)
    ((ended, command),) = reported
    assert "All steps together took 2.0 min of 99.0 h." in ended
    assert "Plan: " not in ended
    assert command == f"carsearch submit {folder.root} --model {folder.ensemble_model}"
    folder.submission.write_text("id,label\n", encoding="utf-8")
    study = Study.open(folder.root, read_only=True)
    assert commands(folder, experiment, study)[0].text.startswith(f"carsearch predict {folder.ensemble_model} ")
    study = keep(folder, replace(WholeRun.of(study), uses_ensemble=False))
    assert commands(folder, experiment, study)[0].text.startswith(f"carsearch predict {folder.model} ")
    assert capsys.readouterr().out.splitlines()[-1].startswith("ended: 2.0 of ")


def test_a_report_that_cannot_be_written_leaves_a_finished_run_finished(
    searched: tuple[StudyFolder, Experiment], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, experiment = searched
    keep(folder, replace(AT_FINAL, stage=SCORING))

    def fail(*_: object) -> None:
        raise StudyError("split.csv was changed")

    monkeypatch.setattr(whole_run, "_submit", lambda *_: None)
    monkeypatch.setattr(steps, "write_report_or_warn", fail)
    _finish(folder, experiment, None)
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].startswith("ended: ")
    assert "the report is not written anew: split.csv was changed" in said.err
    assert WholeRun.of(Study.open(folder.root, read_only=True)).is_done


@pytest.mark.parametrize("stage", [SEARCH, FINAL, ENSEMBLE, SCORING])
def test_a_run_that_is_not_done_is_continued_by_run_with_its_hours(
    searched: tuple[StudyFolder, Experiment], capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    folder, experiment = searched
    study = keep(folder, replace(AT_FINAL, hours=1.5, stage=stage))
    command = f"carsearch run {folder.experiment} --hours 1.5 --or-resume"
    assert command_of(folder, study) == command
    assert [one.text for one in commands(folder, experiment, study)] == [command]
    assert search_closing(folder, experiment, study)[-1] == f"next: {command}"
    show_status(folder, experiment, study)
    assert capsys.readouterr().out.splitlines()[-1] == f"unless it is running: continue with '{command}'"
    own = load(folder.experiment)
    assert (own.results / own.name, changes_asked(folder, own)) == (folder.root, ()), "its own file continues it"


@pytest.mark.parametrize("name", ["tiny", "renamed"])
def test_a_run_that_was_moved_is_continued_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    policy = tmp_path / "flip.yaml"
    policy.write_text("transform: {__class_fullname__: HorizontalFlip, p: 0.5}\n", encoding="utf-8")
    folder, _ = untrained_study(tmp_path, f"train.augment.policy={policy}", per_class=5)
    keep(folder, replace(AT_FINAL, hours=1.5))
    moved = StudyFolder(tmp_path / "elsewhere" / name)
    moved.root.parent.mkdir()
    folder.root.rename(moved.root)
    finished: list[StudyFolder] = []
    monkeypatch.setattr(whole_run, "_finish", lambda there, *_: finished.append(there))
    app.run(moved.experiment, hours=1.5, or_resume=True)
    assert finished == [moved]
    assert not folder.root.exists()
    other = load(moved.experiment, ["name=other"])
    assert where_it_lies(other) == other
    assert (where_it_lies(other).name, where_it_lies(other).results) == ("other", folder.root.parent)


def test_a_run_that_is_done_is_not_continued(
    searched: tuple[StudyFolder, Experiment], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, experiment = searched
    study = keep(folder, replace(AT_FINAL, stage=DONE))
    assert command_of(folder, study) is None
    show_status(folder, experiment, study)
    assert "continue" not in capsys.readouterr().out


def test_a_final_training_that_runs_is_not_to_be_continued(
    begun: tuple[StudyFolder, Experiment], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, experiment = begun
    with Study.open(folder.retrain):
        show_status(folder, experiment, Study.open(folder.root, read_only=True))
    assert "continue with" not in capsys.readouterr().out


def test_an_interrupted_final_training_names_what_goes_on_with_all_steps(
    begun: tuple[StudyFolder, Experiment], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, experiment = begun

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(logs, "redirect_native_stderr", lambda _: None)
    monkeypatch.setattr(retrain._FinalTraining, "train", interrupt)
    with pytest.raises(KeyboardInterrupt):
        retrain_winner(folder, experiment, None)
    assert f"interrupted after 3 epochs: {OR_RESUME} resumes from there" in capsys.readouterr().err
