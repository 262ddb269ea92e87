"""Runtime settings of a final training may change between calls; its progress and its failure messages."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.config import TrainConfig
from search.driver.create import create_recipe_folder
from search.errors import StudyError
from search.experiment.changes import RETRAINABLE, refusal
from search.experiment.experiment import load
from search.experiment.runtime_settings import with_runtime_settings_of, without_runtime_settings
from search.final.failure_texts import no_room_text, progress_text, too_many_deaths_text
from search.policy.oom import OomKey
from search.study.frozen import open_experiment
from search.worker.segment import Outcome
from tests.helpers.search.tiny import FIXED, write_tiny
from tests.helpers.search.trial_builders import climb

SILENT = Outcome(
    "killed", "no report within 9 s (search.deadline.epoch_factor)", timeout_setting="search.deadline.epoch_factor"
)
DEAD = Outcome("killed", "its process died with exit code -9")
STAGES = [{"name": name, "unfreeze": 0.0, "epochs": 2, "learning_rate": 0.1} for name in ("head", "top")]
CONFIG = TrainConfig.model_validate({"backbone": "MobileNet", "image_size": 32, "batch_size": 8, "stages": STAGES})


def test_after_too_many_silent_processes_it_says_which_limit_to_raise() -> None:
    text = too_many_deaths_text(SILENT, "the final training in r", deaths=4, max_restarts=3)
    assert text.startswith("the final training in r: no report within 9 s (search.deadline.epoch_factor), 4 times")
    assert "more than search.max_restarts (3)" in text
    assert "--set search.deadline.epoch_factor=...; then run the same command again" in text
    assert text.endswith("every finished epoch is kept")


def test_a_step_of_another_command_is_continued_by_that_command() -> None:
    again = "'carsearch run ... --or-resume'"
    for outcome in (SILENT, DEAD):
        text = too_many_deaths_text(outcome, "the final training in r", deaths=4, max_restarts=3, again=again)
        assert f"; then run {again} again; every" in text or f", then run {again} again; every" in text
    key = OomKey.of(CONFIG, 0, "CPU, 1 GiB")
    text = no_room_text(key, DEAD, CONFIG, "the final training in r", "carsearch retrain r --replace", again=again)
    assert f"or run {again} again where there is more memory" in text


def test_after_too_many_deaths_no_limit_is_to_blame() -> None:
    text = too_many_deaths_text(DEAD, "the final training in r", deaths=4, max_restarts=3)
    assert "exit code -9, 4 times" in text
    assert "search.deadline" not in text


def test_where_it_stands() -> None:
    assert progress_text((), CONFIG) == "before its first epoch"
    assert progress_text(climb([0.5, 0.6])[:1], CONFIG) == "after epoch 1 of 4"
    assert progress_text(climb([0.5, 0.6], [0.7, 0.8]), CONFIG) == "being scored after its last epoch"


SETTINGS = st.dictionaries(st.sampled_from(["seed", "max_restarts", "deadline"]), st.integers())


@given(st.dictionaries(st.sampled_from(["name", "train"]), st.integers()), st.none() | SETTINGS, SETTINGS)
def test_trees_are_equal_without_patience_where_nothing_else_differs(rest, search, more) -> None:
    patience = {key: value for key, value in more.items() if key != "seed"}
    plain = rest if search is None else {**rest, "search": search}
    patient = {**rest, "search": {**(search or {}), **patience}}
    if search is not None or patience:
        assert without_runtime_settings(patient) == without_runtime_settings(plain)
    changed = {**(search or {}), "seed": (search or {}).get("seed", 0) + 1}
    assert without_runtime_settings({**rest, "search": changed}) != without_runtime_settings(plain)


def test_a_recipe_continues_only_if_nothing_but_patience_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_tiny(tmp_path, FIXED)
    folder = create_recipe_folder(load(file))
    asked = load(file, ["search.deadline.first_epoch_minutes=7", "search.max_restarts=1"])
    assert create_recipe_folder(asked) == folder
    frozen = open_experiment(folder)
    used = with_runtime_settings_of(frozen, asked)
    assert (used.search.deadline.first_epoch_minutes, used.search.max_restarts) == (7.0, 1)
    assert used.search.model_copy(update={"deadline": frozen.search.deadline, "max_restarts": 3}) == frozen.search
    for change in ("search.seed=1", "train.batch_size=4"):
        with pytest.raises(StudyError, match="other settings"):
            create_recipe_folder(load(file, [change]))


def test_retrain_may_be_given_more_patience() -> None:
    assert refusal("search.deadline.epoch_factor=20", RETRAINABLE) is None
    assert refusal("search.max_restarts=9", RETRAINABLE) is None
