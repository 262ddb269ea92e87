"""The last lines of a command: why a search ended, how to extend it, and what to expect."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.experiment.experiment import Experiment, load
from search.experiment.search_settings import BudgetSettings, SearchSettings
from search.progress.closing_lines import (
    ended_clauses,
    expectations,
    limits_of,
    reached_limits,
    settings_text,
    submit_closing,
)
from search.report.sections.next_steps import ended_text
from search.study.ensemble_scores import EnsembleScores, MemberShare, read_ensemble
from search.study.final_scores import Expected, read_scores
from search.study.folder import StudyFolder
from search.study.run_hours import WholeRun
from search.study.study import Study
from tests.helpers.search.tiny import EXPERIMENT, write_tiny
from tests.helpers.search.untrained_study import add_final, untrained_study


def settings(trials: int = 4, **budget: float) -> SearchSettings:
    return SearchSettings(trials=trials, budget=BudgetSettings(**budget))


@pytest.mark.parametrize(
    ("limits", "used", "keys"),
    [
        (settings(), {"trials": 4}, ["search.trials"]),
        (settings(hours=2.0), {"trials": 4, "hours": 1.0}, ["search.trials"]),
        (settings(hours=2.0), {"trials": 3, "hours": 2.1, "exhausted": True}, ["search.budget.hours"]),
        # What is left of them is kept for the finals.
        (settings(hours=2.0), {"trials": 3, "hours": 1.2, "exhausted": True}, ["search.budget.hours"]),
        (settings(gpu_hours=2.0), {"trials": 3, "gpu_hours": 2.0, "exhausted": True}, ["search.budget.gpu_hours"]),
        (
            settings(hours=9.0, gpu_hours=2.0),
            {"trials": 3, "hours": 3.0, "gpu_hours": 1.9, "exhausted": True},
            ["search.budget.gpu_hours"],
        ),
        # More trials alone would train nothing: both are to be raised.
        (settings(hours=2.0), {"trials": 4, "hours": 2.1, "exhausted": True}, ["search.budget.hours", "search.trials"]),
        (settings(), {"trials": 3}, []),
    ],
)
def test_the_limits_that_ended_it_are_named_and_no_others(limits, used, keys) -> None:
    asked = {"trials": 0, "hours": 0.0, "gpu_hours": 0.0, "exhausted": False, **used}
    found = reached_limits(limits, **asked)
    assert [key for key, _ in found] == keys
    assert all(key in clause for key, clause in found)


@pytest.mark.parametrize(
    ("used", "reserve", "keys"),
    [
        ({"hours": 0.5}, 0.0, []),
        ({"hours": 0.5, "gpu_hours": 0.5}, 0.2, []),
        ({"hours": 6.0}, 0.0, ["search.budget.hours"]),
        ({"hours": 5.0}, 0.2, ["search.budget.hours"]),
        ({"hours": 5.5, "gpu_hours": 2.0}, 0.0, ["search.budget.gpu_hours"]),
    ],
)
def test_with_a_whole_runs_hours_a_budget_is_named_only_if_it_is_used_up(used, reserve, keys) -> None:
    asked = {"trials": 3, "hours": 0.0, "gpu_hours": 0.0, "exhausted": True, **used}
    found = reached_limits(settings(hours=6.0, gpu_hours=2.0), **asked, whole_reserve=reserve)
    assert [key for key, _ in found] == keys


def exhausted(
    folder: Path, *, own_hours: float, run_hours: float, used_s: float, by: float | None = None
) -> tuple[Experiment, Study]:
    """A search within a whole run that ended by one of their hours. by: see `Study.set_budget_exhausted`."""
    experiment = load(write_tiny(folder, EXPERIMENT), [f"search.budget={{hours: {own_hours}}}", "search.trials=50"])
    with Study.create(folder, "x") as study:
        WholeRun(hours=run_hours, outside_s=0.0, folds=1, is_refitted=False, final_ratio=1.0, at_once=1).keep(study)
        study.set_elapsed_s(used_s)
        study.set_budget_exhausted(by=by)
        study.finish()
    return experiment, Study.open(folder, read_only=True)


@pytest.mark.parametrize(
    ("used_s", "why"),
    [(1800.0, "the search's part of --hours 1 is used up"), (21600.0, "search.budget.hours (6) are used up")],
)
def test_a_whole_run_names_the_hours_that_really_ended_its_search(tmp_path: Path, used_s: float, why: str) -> None:
    experiment, study = exhausted(tmp_path, own_hours=6, run_hours=1, used_s=used_s)
    assert ended_clauses(study, limits_of(study, experiment)) == (why,)
    assert ended_text(StudyFolder(tmp_path), study, experiment).startswith(f"The search ended because {why}.")


@pytest.mark.parametrize(
    ("by", "why"),
    [(0.0, "search.budget.hours (1) are used up"), (8.0, "the search's part of --hours 8 is used up")],
)
def test_the_hours_that_the_study_keeps_are_named_as_its_end(tmp_path: Path, by: float, why: str) -> None:
    # With the repeats, for which the search left the rest of its hour.
    experiment, study = exhausted(tmp_path, own_hours=1, run_hours=9, used_s=0.95 * 3600, by=by)
    assert ended_clauses(study, limits_of(study, experiment)) == (why,)


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        (1, "all 1 trials of search.trials have run"),
        (2, "no other trial can end within the search's part of --hours 1"),
    ],
)
def test_a_whole_run_with_time_left_says_that_no_trial_fits_it(tmp_path: Path, trials: int, why: str) -> None:
    experiment = load(write_tiny(tmp_path, EXPERIMENT), [f"search.trials={trials}"])
    with Study.create(tmp_path, "x") as study:
        WholeRun(hours=1.0, outside_s=0.0, folds=1, is_refitted=False, final_ratio=1.0, at_once=1).keep(study)
        study.add_trial({}, experiment.bind(experiment.baseline), is_baseline=True)
        study.finish()
    study = Study.open(tmp_path, read_only=True)
    assert ended_clauses(study, limits_of(study, experiment)) == (why,)


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=4))
def test_settings_are_one_line_whatever_they_are(params) -> None:
    text = settings_text(params)
    assert "\n" not in text
    assert "\x1b" not in text


def test_settings_are_told_in_full() -> None:
    params = {f"train.stages.s{number}.learning_rate": 1e-3 * number for number in range(1, 20)}
    text = settings_text(params)
    assert all(f"{name}={value:.4g}" in text for name, value in params.items())


ENSEMBLE = EnsembleScores(
    is_kept=True,
    members=(
        MemberShare("4 folds of the final training", 0.75, 0.94, 0.2, 4, 9.0),
        MemberShare("3 folds of the final training of trial 0007", 0.25, 0.93, 0.25, 3, None),
    ),
    best="4 folds of the final training",
    photos=700,
    candidates=2,
    accuracy=0.96,
    log_loss=0.15,
    best_accuracy=0.94,
    best_log_loss=0.2,
    fitted_accuracy=0.955,
    fitted_log_loss=0.16,
    single_accuracy=0.94,
    single_log_loss=0.2,
    interval=(0.01, 0.06),
    expected=Expected(0.968, 0.955, 0.977, "the ensemble"),
)
EXPECTED = "expect on new photos: accuracy 0.968 (0.955 to 0.977) of the ensemble"


def test_an_ensembles_scores_are_read_as_written_and_begin_with_what_to_expect(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.ensemble.mkdir()
    ENSEMBLE.write(folder.ensemble_scores)
    assert EnsembleScores.read(folder.ensemble_scores) == ENSEMBLE
    assert ENSEMBLE.lines()[0] == EXPECTED
    older = replace(ENSEMBLE, expected=None)
    older.write(folder.ensemble_scores)
    assert EnsembleScores.read(folder.ensemble_scores) == older
    assert older.lines()[0].startswith("75% 4 folds of the final training: accuracy 0.9400")
    assert read_ensemble(folder) is None, "no model was exported"
    folder.ensemble_model.write_bytes(b"a model")
    assert read_ensemble(folder) == older
    for damaged in ("", "[]", "{}", '{"members": 1}'):
        folder.ensemble_scores.write_text(damaged, encoding="utf-8")
        assert read_ensemble(folder) is None


def test_a_submission_names_the_model_it_is_by_and_what_to_expect_of_it(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    lines = submit_closing(folder, ENSEMBLE, rows=3, unread=0, model=folder.ensemble_model)
    assert lines[1] == f"by: an ensemble of 7 models; cross-fitted accuracy 0.9550, log-loss 0.1600; {EXPECTED}"
    lines = submit_closing(folder, replace(ENSEMBLE, expected=None), rows=3, unread=0, model=folder.ensemble_model)
    assert lines[1] == "by: an ensemble of 7 models; cross-fitted accuracy 0.9550, log-loss 0.1600"
    alone = replace(ENSEMBLE, is_kept=False, best="trial 0003", members=ENSEMBLE.members[:1], expected=None)
    lines = submit_closing(folder, alone, rows=3, unread=0, model=folder.ensemble_model)
    assert lines[1] == (
        "by: trial 0003 alone, as no ensemble is sure to help; cross-fitted accuracy 0.9400, log-loss 0.2000"
    )


def test_the_status_tells_what_to_expect_of_final_model_and_ensemble(tmp_path: Path) -> None:
    folder, experiment = untrained_study(tmp_path, "retrain.folds=2", per_class=5)
    add_final(folder, experiment)
    own = Expected(0.95, 0.93, 0.96, "the model")
    scores = replace(read_scores(folder), expected=own)
    folder.scores.write_text(json.dumps(asdict(scores)), encoding="utf-8")
    with Study.open(folder.root, read_only=True) as study:
        alone = (f"final model: {own.line}",)
        assert expectations(folder, experiment, study) == alone
        folder.ensemble.mkdir()
        folder.ensemble_model.write_bytes(b"a model")
        ENSEMBLE.write(folder.ensemble_scores)
        assert expectations(folder, experiment, study) == (*alone, f"ensemble: {EXPECTED}")
