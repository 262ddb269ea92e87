"""The content of a final training's study, and which folders it may use."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

import pytest

from carcls.config import TrainConfig
from carcls.splits.k_folds import read_folds
from carcls.splits.split_files import read_split
from search.driver.create import create_recipe_folder, create_study
from search.driver.interrupts import Interrupts
from search.driver.nodes.oom_records import OomRecords
from search.errors import StudyError
from search.experiment.experiment import Experiment, load
from search.final.final_study import FixedPolicy, final_reports, open_final_study
from search.final.retrain import ChildMains, final_config, retrain
from search.policy.oom import OomKey, OomRecord
from search.policy.records import TrialState
from search.policy.scheduler import BudgetState, Continue, Finished, Wait
from search.report.page import write_study_report
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker.segment import Outcome
from tests.helpers.search.hanging_final import EPOCHS, SCORES, noting_child, score_at_once
from tests.helpers.search.tiny import EXPERIMENT, FIXED, write_tiny
from tests.helpers.search.trial_builders import climb, trial

EXHAUSTED = BudgetState(trials_left=0, exhausted=True, finals_exhausted=True)
LABELLED = 36


def folder_of(experiment: Experiment) -> StudyFolder:
    return create_recipe_folder(experiment, replace=False)


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    file = write_tiny(tmp_path, FIXED)
    return lambda *overrides: load(file, overrides)


def begin(folder: StudyFolder, experiment: Experiment, config: TrainConfig | None = None) -> None:
    folder.retrain.mkdir(exist_ok=True)
    open_final_study(folder, experiment, config or experiment.bind({})).close()


def test_each_trial_goes_to_its_end_whatever_the_budget() -> None:
    done, waiting = trial(0, TrialState.COMPLETE, climb([0.5])), trial(1, TrialState.WAITING)
    policy = FixedPolicy()
    assert policy.next_job((done, waiting), EXHAUSTED) == Continue(1, stop_after_stage=2)
    assert policy.next_job((done, trial(1, TrialState.RUNNING)), EXHAUSTED) == Wait()
    assert policy.next_job((done,), EXHAUSTED) == Finished()


def test_one_training_has_the_studys_own_split(loaded) -> None:
    experiment = loaded()
    folder = folder_of(experiment)
    begin(folder, experiment)
    own = folder.retrain_study
    assert own.split.read_bytes() == folder.split.read_bytes()
    assert not own.folds.exists()
    assert final_reports(folder) == ((),)


def test_a_rectangle_and_a_head_of_layers_are_plain_values_of_its_trial(loaded) -> None:
    experiment = loaded("train.image_size=[32, 48]", "train.fit=pad", "train.head={layers: [{kind: relu}]}")
    folder = folder_of(experiment)
    begin(folder, experiment)
    (record,) = Study.open(folder.retrain, read_only=True).records()
    assert record.params["image_size"] == "32x48"
    assert record.params["head.layers.0.kind"] == "relu"


@pytest.mark.parametrize("rank_by", ["accuracy", "log_loss"])
def test_the_recipe_of_a_training_on_all_photos_alone_loads_and_ranks_as_it_did(tmp_path, monkeypatch, rank_by) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load(write_tiny(tmp_path, EXPERIMENT), ["retrain.photos=all", f"search.rank_by={rank_by}"])
    folder = create_study(experiment)
    begin(folder, experiment, experiment.bind(experiment.baseline))
    recipe = load(folder.recipe)
    assert (recipe.photos, recipe.folds, recipe.search.rank_by) == ("train", 1, rank_by)


def test_the_recipe_of_folds_and_all_photos_asks_for_both(loaded) -> None:
    experiment = loaded("retrain.folds=2", "retrain.photos=all")
    folder = folder_of(experiment)
    begin(folder, experiment)
    recipe = load(folder.recipe)
    assert (recipe.photos, recipe.folds, recipe.search.rank_by) == ("all", 2, "log_loss")


@pytest.mark.parametrize("cpus", [3, None])
def test_the_recipe_divides_the_cores_as_its_study_does(loaded, cpus) -> None:
    experiment = loaded(f"search.resources.cpus_per_trial={'null' if cpus is None else cpus}")
    folder = folder_of(experiment)
    begin(folder, experiment)
    assert load(folder.recipe).search.resources.cpus_per_trial == cpus


def test_of_several_each_photo_validates_once(loaded) -> None:
    experiment = loaded("retrain.folds=3")
    folder = folder_of(experiment)
    begin(folder, experiment)
    assert folder.retrain_study.split.read_bytes() == folder.split.read_bytes(), "its pixels are shared"
    folds = read_folds(folder.retrain_study.folds, experiment.data.root)
    validating = [id_ for number in range(3) for id_ in folds.split(number).validation.ids]
    split = read_split(folder.split, experiment.data.root)
    assert sorted(validating) == sorted((*split.train.ids, *split.validation.ids))
    assert len(validating) == LABELLED
    assert final_reports(folder) == ((), (), ())


def test_another_configuration_or_number_of_folds_is_refused(loaded) -> None:
    experiment = loaded()
    folder = folder_of(experiment)
    begin(folder, experiment)
    begin(folder, experiment)
    for other in (loaded("train.batch_size=4"), loaded("retrain.folds=2")):
        with pytest.raises(StudyError, match="another configuration: 'carsearch train FILE --replace' deletes it"):
            begin(folder, other)


def test_a_fixed_recipe_trains_with_the_changes_of_its_retrain_section(loaded) -> None:
    experiment = loaded("retrain.stages={top: {epochs: 3}}", "retrain.batch_size=4")
    folder = folder_of(experiment)
    config = final_config(folder, experiment, None)
    assert config.batch_size == 4
    assert [stage.epochs for stage in config.stages] == [2, 3]
    assert "stages: head 2 + top 3 = 5 epochs" in experiment.summary_lines()
    begin(folder, experiment, config)
    recipe = load(folder.recipe)
    assert final_config(folder, recipe, None) == config, "its own recipe repeats it"


def test_one_begun_without_the_changes_of_its_retrain_section_is_another_one(loaded) -> None:
    experiment = loaded("retrain.batch_size=4")
    folder = folder_of(experiment)
    begin(folder, experiment, experiment.bind({}))
    with pytest.raises(StudyError, match="another configuration: 'carsearch train FILE --replace' deletes it"):
        begin(folder, experiment, final_config(folder, experiment, None))


def test_what_a_creation_left_that_was_cut_off_goes(loaded) -> None:
    experiment = loaded("retrain.folds=2")
    folder = folder_of(experiment)
    begin(folder, experiment)
    (folder.retrain / "config.json").unlink()  # written last
    (folder.retrain_study.trial(0)).mkdir()
    assert final_reports(folder) == ()
    begin(folder, loaded("retrain.folds=3"))
    assert final_reports(folder) == ((), (), ())
    assert list(folder.retrain_study.trials.iterdir()) == []


def test_an_unfinished_one_of_an_older_version_is_rejected_and_shown(loaded) -> None:
    experiment = loaded()
    folder = folder_of(experiment)
    folder.retrain.mkdir()
    (folder.retrain / "config.json").write_text(experiment.bind({}).model_dump_json(indent=2), encoding="utf-8")
    told = climb([0.5, 0.75])
    lines = "".join(json.dumps(report.to_json()) + "\n" for report in told)
    folder.retrain_reports.write_text(lines, encoding="utf-8")
    assert final_reports(folder) == (told,)
    with pytest.raises(StudyError) as refused:
        begin(folder, experiment)
    assert str(refused.value) == (
        f"{folder.retrain} holds an unfinished final training of an older carsearch: 'carsearch train FILE --replace'"
        " deletes it and trains from scratch"
    )
    assert folder.retrain_reports.read_text(encoding="utf-8") == lines


def test_it_trains_during_the_search_and_knows_its_oom_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = load(write_tiny(tmp_path, EXPERIMENT), ["retrain={}"])
    folder = create_study(experiment)
    refusal = OomRecord(OomKey.of(experiment.bind(experiment.baseline), 1, "CPU, 512 MiB"), 8, tries=2)
    with Study.open(folder.root) as searching:  # holds the search's lock
        config = experiment.bind(experiment.baseline)
        number = searching.add_trial(experiment.baseline, config)
        OomRecords(searching).add(config, Outcome("out_of_memory", "no room", stage=1, oom_record=refusal.to_json()))
        mains = ChildMains(train=noting_child, score=score_at_once)
        assert retrain(folder, experiment, config, trial=number, say=print, mains=mains) == SCORES
        with pytest.raises(StudyError, match="is in use by process"):
            Study.open(folder.root)
    segment = json.loads((folder.retrain / "segment.json").read_text(encoding="utf-8"))
    assert segment["oom_records"] == [replace(refusal, tries=1).to_json()], "worth one more try in each call"
    assert (segment["fold"], segment["needs_best"], segment["stop_after_stage"]) == (None, True, 1)
    assert segment["rank_by"] == Study.open(folder.root, read_only=True).rank_by
    assert segment["threads"] == len(os.sched_getaffinity(0)), "a single training has all cores"
    assert final_reports(folder) == (EPOCHS,)


def test_what_is_trained_is_scored_again_without_a_place_to_train(loaded) -> None:
    experiment = loaded()
    folder, config = folder_of(experiment), experiment.bind({})
    mains = ChildMains(train=noting_child, score=score_at_once)
    retrain(folder, experiment, config, trial=None, say=print, mains=mains)
    assert not folder.model.exists(), "it is not finished"

    def unreachable(_: Interrupts) -> NoReturn:
        pytest.fail("a cluster was joined")

    assert retrain(folder, experiment, config, trial=None, say=print, mains=mains, open_place=unreachable) == SCORES


def test_a_finished_one_of_an_older_carsearch_is_finished(loaded) -> None:
    experiment = loaded()
    folder = folder_of(experiment)
    folder.retrain.mkdir()
    (folder.retrain / "config.json").write_text(experiment.bind({}).model_dump_json(indent=2), encoding="utf-8")
    told = climb([0.5, 0.75])
    lines = "".join(json.dumps(report.to_json()) + "\n" for report in told)
    folder.retrain_reports.write_text(lines, encoding="utf-8")
    newer = ("folds", "out_of_fold", "members", "efficiency", "tta_note")
    older = {key: value for key, value in asdict(SCORES).items() if key not in newer}
    folder.scores.write_text(json.dumps(older), encoding="utf-8")
    folder.model.write_bytes(b"a model")
    said: list[str] = []
    assert retrain(folder, experiment, experiment.bind({}), trial=None, say=said.append) == SCORES
    assert said == [f"{folder.retrain} is already finished; 'carsearch train FILE --replace' trains again from scratch"]
    assert final_reports(folder) == (told,)
    write_study_report(folder, experiment)
    assert "Final training" in folder.report.read_text(encoding="utf-8")
    with pytest.raises(StudyError, match="another configuration"):
        retrain(folder, loaded("retrain.folds=2"), experiment.bind({}), trial=None, say=said.append)
