"""Where a final training beside the study's own goes, and which folders of such trainings count."""

import shutil
from dataclasses import replace

import pytest

from carcls.errors import ConfigError, DataError
from search.cli.actions import open_study, run_retrain
from search.cli.commands import final
from search.ensemble.build import build_ensemble
from search.errors import ExperimentError, StudyError
from search.experiment.changes import RETRAINABLE
from search.experiment.experiment import Experiment
from search.final.final_study import open_final_study
from search.final.retrain import final_config
from search.final.runners_up import folder_beside, runner_up_of
from search.study.finals_beside import finals_beside
from search.study.folder import StudyFolder
from tests.helpers.search.untrained_study import FOLDS, add_final, finish_training, untrained_study


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, Experiment]:
    """A study of two trials with the final training of trial 0, and its experiment."""
    folder, experiment = untrained_study(tmp_path_factory.mktemp("trained"), per_class=5)
    add_final(folder, experiment)
    return folder, experiment


@pytest.mark.parametrize("number", [2, 99, -1])
def test_only_a_trial_of_the_study_is_trained_beside_the_final_training(trained, number) -> None:
    folder, experiment = trained
    assert folder_beside(folder, None, experiment) == folder_beside(folder, 1, experiment) == (1, folder.beside(1))
    with pytest.raises(StudyError, match=rf"no trial {number} in this study: expected 0 to 1$"):
        folder_beside(folder, number, experiment)
    with pytest.raises(StudyError, match="trial 0000 is the one of the final training"):
        folder_beside(folder, 0, experiment)


def test_a_training_beside_sees_photos_as_the_final_one_did(trained) -> None:
    folder, _ = trained
    for fit, number in (("stretch", 1), ("pad", None)):
        asked = open_study(folder.root, [f"retrain.fit={fit}"], changeable=RETRAINABLE)[1]
        found = runner_up_of(folder, asked)
        assert (None if found is None else found.number) == number
    with pytest.raises(StudyError, match=r"no other backbone has a trial .* whose photos are fitted as those of the"):
        folder_beside(folder, None, asked)


def test_a_training_whose_configuration_is_refused_leaves_no_folder_and_deletes_none(trained) -> None:
    folder, experiment = trained
    refused = replace(experiment, photos="all", folds=1)  # whose retrain section changes the trial
    with pytest.raises(StudyError, match="section changes its configuration"):
        run_retrain(folder.beside(1), refused, trial=1)
    assert finals_beside(folder) == ()
    with pytest.raises(StudyError, match="section changes its configuration"):
        run_retrain(folder, refused, trial=0, replace=True)
    assert folder.model.exists()


@pytest.mark.parametrize(
    ("changes", "is_damaged", "why"),
    [
        (["data.extra=/more"], False, "data.extra: .* was made without extra photos"),
        (["data.pseudo={}"], False, "data.pseudo: .* has no photos to predict"),
        (["retrain.folds=20"], False, "15 photos are too few for 20 folds"),
        ([], True, "damaged"),
    ],
)
def test_a_training_anew_that_is_refused_deletes_nothing(trained, changes, is_damaged, why) -> None:
    folder, _ = trained
    asked = open_study(folder.root, ["retrain.folds=2", *changes], changeable=RETRAINABLE)[1]
    there, split = sorted(folder.retrain.rglob("*")), folder.split.read_bytes()
    try:
        if is_damaged:
            folder.split.write_bytes(split.replace(b"train", b"holdout", 1))
        with pytest.raises((StudyError, DataError), match=why):
            run_retrain(folder, asked, trial=0, replace=True)
    finally:
        folder.split.write_bytes(split)
    assert sorted(folder.retrain.rglob("*")) == there


@pytest.mark.parametrize("replaces", [True, False])
def test_a_policy_that_turns_rectangles_is_refused_before_anything_is_deleted(trained, tmp_path, replaces) -> None:
    folder, _ = trained
    policy = tmp_path / "turn.yaml"
    policy.write_text("transform: {__class_fullname__: Transpose, p: 0.1}\n", encoding="utf-8")
    changes = ["retrain.folds=2", "retrain.image_size=[32, 64]", f"retrain.augment.policy={policy}"]
    asked = open_study(folder.root, changes, changeable=RETRAINABLE)[1]
    there, place = sorted(folder.retrain.rglob("*")), folder if replaces else folder.beside(1)
    with pytest.raises(ConfigError, match=r"turn\.yaml: `transform` \(Transpose\): turns a photo of 96 x 128 into"):
        run_retrain(place, asked, trial=int(not replaces), replace=replaces)
    assert sorted(folder.retrain.rglob("*")) == there
    assert finals_beside(folder) == ()


def test_a_training_anew_without_its_photos_deletes_nothing(trained) -> None:
    folder, _ = trained
    asked = open_study(folder.root, [], changeable=RETRAINABLE)[1]
    root, there = asked.data.root, sorted(folder.retrain.rglob("*"))
    away = root.rename(root.with_name("away"))
    try:
        with pytest.raises(ExperimentError, match=f"data.root: no such folder: {root}"):
            run_retrain(folder, asked, trial=0, replace=True)
    finally:
        away.rename(root)
    assert sorted(folder.retrain.rglob("*")) == there


@pytest.mark.parametrize(
    ("arguments", "folds"),
    [
        ({}, FOLDS),
        ({"overrides": ["retrain.folds=3"]}, 3),
        ({"overrides": ["retrain={folds: 3}"]}, 3),
        ({"overrides": ["retrain={image_size: 64}"]}, FOLDS),
    ],
)
def test_a_training_beside_has_the_folds_of_the_final_one_whatever_the_file_says(
    trained, monkeypatch, arguments, folds
) -> None:
    folder, experiment = trained
    assert experiment.folds == 1
    asked = []
    monkeypatch.setattr(final, "run_retrain", lambda there, experiment, **_: asked.append((there, experiment.folds)))
    final.retrain(folder.root, beside=True, **arguments)
    assert asked == [(folder.beside(1), folds)]


@pytest.mark.parametrize("section", ["retrain.folds=1", "retrain={folds: 1}"])
def test_a_single_training_beside_folds_is_refused(trained, section) -> None:
    folder, _ = trained
    with pytest.raises(StudyError, match=r"^retrain\.folds: 1 predicts no photo out of fold, .* the 2 folds"):
        final.retrain(folder.root, beside=True, overrides=[section])
    assert finals_beside(folder) == ()


def test_a_training_beside_goes_on_with_the_folds_that_it_began_with(trained, monkeypatch) -> None:
    folder, experiment = trained
    there = folder.beside(1)
    there.retrain.mkdir()
    begun = replace(experiment, folds=3)
    open_final_study(there, begun, final_config(folder, begun, 1)).close()
    asked = []
    monkeypatch.setattr(final, "run_retrain", lambda _, experiment, **__: asked.append(experiment.folds))
    try:
        final.retrain(folder.root, beside=True)
        final.retrain(folder.root, beside=True, replace=True)
    finally:
        shutil.rmtree(there.retrain)
    assert asked == [3, FOLDS]


def test_an_ensemble_names_a_single_training_beside_folds_and_how_to_train_it_on_folds(trained) -> None:
    folder, experiment = trained
    there = folder.beside(1)
    there.retrain.mkdir()
    config = final_config(folder, experiment, 1)
    with open_final_study(there, experiment, config) as study:
        finish_training(study, 0, config)
    for path in (folder.scores, folder.model):
        shutil.copyfile(path, there.retrain / path.name)
    command = f"carsearch retrain {folder.root} --beside --trial 1 --replace"
    try:
        with pytest.raises(StudyError, match=f"of trial 0001: it predicts no photo out of fold; '{command}'"):
            build_ensemble(folder, experiment, most=5, max_ms=None, say=print)
    finally:
        shutil.rmtree(there.retrain)


def test_folders_without_a_training_and_of_no_trial_are_passed_over(trained) -> None:
    folder, experiment = trained
    mistyped, empty = folder.beside(99), folder.beside(1)
    try:
        for one in (mistyped, empty):
            one.retrain.mkdir()
            one.retrain_output.touch()
        found = runner_up_of(folder, experiment)
        assert found is not None
        assert found.number == 1, "not of the final training's backbone, and the study has no trial 99"
        mistyped.retrain_config.touch()
        assert runner_up_of(folder, experiment) == found
        for path in (empty.scores, empty.model):
            path.touch()
        assert runner_up_of(folder, experiment) == found, "nothing is trained there"
        empty.retrain_config.touch()
        assert runner_up_of(folder, experiment) is None, "both backbones are trained"
        empty.model.unlink()
        assert runner_up_of(folder, experiment) == found, "it was begun"
    finally:
        for one in (mistyped, empty):
            shutil.rmtree(one.retrain, ignore_errors=True)
