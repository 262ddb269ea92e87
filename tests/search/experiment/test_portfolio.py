"""The portfolio: its recipes, what fits, and that a search tries it after its baseline."""

from pathlib import Path

import pytest

from search.errors import ExperimentError
from search.experiment.experiment import load
from search.experiment.portfolio import Recipe, builtin_recipes, fitting, from_text, recipes, to_text
from search.policy.optuna_view import as_optuna_trials
from search.policy.policy import search_policy
from search.policy.records import TrialState
from search.policy.rungs import ordinary_trials
from tests.helpers.search.tiny import EXPERIMENT, FIXED
from tests.helpers.search.trial_builders import climb, trial


def written(folder: Path, text: str, name: str = "x.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def with_portfolio(value: str) -> str:
    return EXPERIMENT.replace("search:\n", f"search:\n  portfolio: {value}\n")


def names(found) -> list[str]:
    return [recipe.name for recipe in found]


def fit(found, *, photos=20_000, gpu_gb=80.0, trials=100, weights_of=lambda config: config.weights):
    return fitting(found, photos=photos, gpu_gb=gpu_gb, trials=trials, weights_of=weights_of)


def test_every_builtin_recipe_can_be_trained_and_says_where_it_is_from():
    found = builtin_recipes()
    assert len({recipe.name for recipe in found}) == len(found) >= 10
    assert len({recipe.config.backbone for recipe in found}) >= 9, "they are different"
    measured = [recipe for recipe in found if recipe.is_measured]
    assert found[: len(measured)] == tuple(measured), "the measured ones come first"
    assert all(recipe.source for recipe in found)
    assert all(recipe.gpu_gb == 0 for recipe in measured)
    assert all(recipe.config.weights == "imagenet" for recipe in found)


def test_recipes_that_do_not_fit_are_left_out_with_the_reason():
    found = builtin_recipes()
    assert fit(found) == (found, ())
    on_cpu, left_out = fit(found, gpu_gb=None)
    assert all(recipe.gpu_gb == 0 for recipe in on_cpu)
    assert len(left_out) == len(found) - len(on_cpu)
    gpu = "needs a GPU with 12 GB, more than a trial has on this machine"
    assert f"portfolio: resnet50_v2 is left out: {gpu}" in left_out
    few, left_out = fit(found, photos=700)
    assert "resnet50_v2" not in names(few)
    assert "portfolio: resnet50_v2 is left out: needs 2,000 photos" in left_out
    short, left_out = fit(found, trials=7)
    assert names(short) == names(found)[:3]
    assert left_out[0].endswith("half of 7 trials are left to the search")
    own, left_out = fit(found, weights_of=lambda config: "/w.h5" if config.backbone == "MobileNetV2" else None)
    assert {recipe.config.weights for recipe in own} == {"/w.h5"}
    assert "portfolio: efficientnet_b3 is left out: its weights are not here" in left_out


def test_the_study_keeps_them_as_text():
    found = builtin_recipes()
    assert from_text(to_text(found)) == found


def test_own_files_are_recipes_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, FIXED.replace("name: tiny", "name: second"), "b.yaml")
    written(tmp_path, FIXED.replace("name: tiny", "name: first").replace("epochs: 2", "epochs: 3"), "a.yaml")
    experiment = load(written(tmp_path, with_portfolio("[a.yaml, b.yaml]")))
    found = recipes(experiment)
    assert names(found) == ["first", "second"]
    assert [recipe.config.stages[0].epochs for recipe in found] == [3, 2]
    assert recipes(load(written(tmp_path, EXPERIMENT))) == ()


def test_a_file_with_domains_or_none_at_all_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, EXPERIMENT, "space.yaml")
    experiment = load(written(tmp_path, with_portfolio("[space.yaml]")))
    with pytest.raises(ExperimentError, match=r"space\.yaml: has domains to search"):
        recipes(experiment)
    with pytest.raises(ExperimentError, match="nowhere") as missing:
        recipes(load(written(tmp_path, with_portfolio("[nowhere.yaml]"))))
    asked, cause = missing.value.problems
    assert (asked.key, cause.where) == ("search.portfolio", "nowhere.yaml")
    assert "nowhere.yaml: is no recipe that can be used" in asked.message
    with pytest.raises(ExperimentError, match=r"search\.portfolio"):
        load(written(tmp_path, with_portfolio("all")))


def test_a_search_tries_them_after_its_baseline_and_then_learns_from_its_own_trials(tmp_path):
    experiment = load(written(tmp_path, EXPERIMENT))
    portfolio = builtin_recipes()[:2]
    policy = search_policy(experiment, portfolio)
    plain = search_policy(experiment)
    trials = []
    proposed = []
    for number in range(4):
        new = policy.propose(trials)
        proposed.append(new)
        trials.append(trial(number, TrialState.COMPLETE, climb([0.5], [0.6], [0.7]), params=new.params))
    assert proposed[0].is_baseline
    assert [one.params for one in proposed[1:3]] == [{"portfolio": recipe.name} for recipe in portfolio]
    assert [one.config for one in proposed] == [None, *(recipe.config for recipe in portfolio), None]
    assert experiment.bind(proposed[3].params)
    assert [one.number for one in ordinary_trials(trials)] == [3]
    assert len(as_optuna_trials(experiment.space, trials)) == 2, "TPE sees points of the space alone"
    assert plain.propose(trials[:1]).config is None


def test_a_recipe_with_more_stages_does_not_unseat_the_others():
    few = [trial(number, TrialState.PAUSED, climb([0.5])) for number in range(1, 4)]
    many = trial(4, TrialState.PAUSED, climb([0.6]), params={"portfolio": "x"})
    many = many.__class__(**{**many.__dict__, "stage_count": 9})
    assert [one.number for one in ordinary_trials([*few, many])] == [1, 2, 3]


def test_files_without_a_portfolio_are_as_before(tmp_path):
    experiment = load(written(tmp_path, EXPERIMENT))
    assert experiment.search.portfolio is None
    assert search_policy(experiment).portfolio == ()
    assert isinstance(builtin_recipes()[0], Recipe)
