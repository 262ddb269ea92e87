"""`retrain.folds` and `retrain.photos`: read once, kept out of what the training schema sees."""

from pathlib import Path

import pytest

from search.errors import ExperimentError
from search.experiment.changes import RETRAINABLE, refusal
from search.experiment.experiment import load
from tests.helpers.search.tiny import EXPERIMENT


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    return path


def test_it_is_one_unless_asked_for(file: Path) -> None:
    assert load(file).folds == 1
    assert load(file, ["retrain.folds=4"]).folds == 4
    assert refusal("retrain.folds=4", RETRAINABLE) is None


def test_the_other_keys_still_change_the_configuration(file: Path) -> None:
    experiment = load(file, ["retrain.folds=4", "retrain.batch_size=4"])
    assert set(experiment.retrain) == {"stages", "batch_size"}
    config = experiment.retrain_config(experiment.bind(experiment.baseline))
    assert (config.batch_size, [stage.epochs for stage in config.stages]) == (4, [2, 2])


def test_the_frozen_copy_has_as_many(file: Path, tmp_path: Path) -> None:
    experiment = load(file, ["retrain.folds=4"])
    frozen = tmp_path / "frozen.yaml"
    frozen.write_text(experiment.resolved_yaml(), encoding="utf-8")
    assert load(frozen) == experiment
    assert load(frozen, ["retrain.folds=3"]) != experiment


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("0", "expected greater than or equal to 1, found 0"),
        ("21", "expected less than or equal to 20, found 21"),
        ("2.5", "expected a whole number, found 2.5"),
        ("many", "expected a whole number, found"),
    ],
)
def test_what_is_no_number_of_folds_is_named_with_its_place(file: Path, wrong: str, said: str) -> None:
    with pytest.raises(ExperimentError) as refused:
        load(file, [f"retrain.folds={wrong}"])
    (problem,) = refused.value.problems
    assert (problem.where, problem.key) == (f"--set retrain.folds={wrong}", "retrain.folds")
    assert said in problem.message


def test_a_wrong_key_beside_it_is_still_found(file: Path) -> None:
    with pytest.raises(ExperimentError) as refused:
        load(file, ["retrain.folds=2", "retrain.batchsize=4"])
    (problem,) = refused.value.problems
    assert problem.key == "retrain.batchsize"
    assert "batch_size" in problem.message


@pytest.mark.parametrize(
    ("changes", "is_refused"),
    [
        (["retrain={photos: all, image_size: 64}"], True),
        (["retrain={photos: all}"], False),
        (["retrain={photos: train, image_size: 64}"], False),
        (["retrain={photos: all, folds: 2, image_size: 64}"], False),
        (["retrain={photos: all, image_size: 64}", "data.extra=more"], False),
        (["retrain={photos: all, image_size: 64}", "data.pseudo={views: 2}"], False),
    ],
)
def test_a_refit_that_retrain_would_refuse_is_told_at_check(file: Path, changes: list[str], is_refused: bool) -> None:
    """It is no error of the file: `run --hours` chooses the folds itself."""
    last = load(file, changes).summary_lines()[-1]
    assert ("will refuse retrain.photos: all without folds" in last) == is_refused
