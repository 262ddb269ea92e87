"""Trainings on all labelled photos: their length, their photos, and what is told of them."""

import json
import re
import shutil
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcls.config import TrainConfig
from carcls.inference.export import load_model
from carcls.splits.k_folds import EVERY_PHOTO
from carcls.splits.split_files import read_split
from carcls.training.steps.schedules import rates
from search.cli.actions import run_retrain
from search.errors import ExperimentError, StudyError
from search.experiment.experiment import load
from search.final.final_study import final_reports
from search.final.refit import refit_config, trial_refit_config
from search.final.retrain import ChildMains, final_config, retrain
from search.policy.records import TrialState
from search.study.final_scores import RefitScore, read_scores
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_split
from search.study.study import Study
from tests.helpers.search.hanging_final import noting_child, score_at_once
from tests.helpers.search.processes import descendants, is_alive, kill, run_cli, start_cli, wait_until
from tests.helpers.search.ran import Ran, timeless
from tests.helpers.search.tiny import FIXED, write_tiny
from tests.helpers.search.trial_builders import climb
from tests.helpers.search.untrained_study import finish_files, untrained_study

REFITTED = FIXED.replace("retrain:\n", "retrain:\n  folds: 2\n  photos: all\n")
LABELLED = 36


def config_of(*epochs: int, schedule: dict | None = None, early_stopping: dict | None = None) -> TrainConfig:
    stages = [
        {
            "name": f"s{number}",
            "unfreeze": 0.0,
            "epochs": count,
            "learning_rate": 0.1,
            "schedule": schedule or {},
            "early_stopping": early_stopping,
        }
        for number, count in enumerate(epochs)
    ]
    return TrainConfig.model_validate(
        {"backbone": "MobileNet", "weights": "none", "image_size": 32, "batch_size": 4, "stages": stages}
    )


def keeping(reports, epoch: int):
    """The same epochs, of which the weights of one are kept in the end."""
    return [replace(report, kept_epoch=epoch) for report in reports]


def test_stages_last_as_long_as_in_the_trainings_and_end_with_the_stage_kept() -> None:
    config = config_of(4, 6, 5, early_stopping={"patience_epochs": 1})
    trainings = [
        keeping(climb([0.1, 0.2], [0.3, 0.4, 0.5], [0.4]), 5),
        keeping(climb([0.1, 0.2, 0.3], [0.3, 0.5], [0.4, 0.1]), 5),
        keeping(climb([0.1, 0.2, 0.3], [0.3, 0.4, 0.5, 0.6], [0.7]), 8),
    ]
    found = refit_config(config, trainings)
    assert [(stage.name, stage.epochs) for stage in found.stages] == [("s0", 3), ("s1", 3)]
    assert all(stage.early_stopping is None for stage in found.stages)
    assert found.model_copy(update={"stages": config.stages}) == config


def test_a_plateau_drops_where_it_dropped() -> None:
    config = config_of(5, schedule={"kind": "plateau"})
    rates = [[1.0, 1.0, 0.3, 0.3, 0.1], [1.0, 0.3, 0.3, 0.3, 0.3], [1.0, 1.0, 1.0, 0.3, 0.1]]
    trainings = [
        keeping([replace(one, learning_rate=rate) for one, rate in zip(climb([0.1] * 5), of, strict=True)], 5)
        for of in rates
    ]
    (stage,) = refit_config(config, trainings).stages
    assert stage.schedule.drops == (2, 4)
    assert refit_config(refit_config(config, trainings), trainings).stages == (stage,), "it is fixed already"


@pytest.mark.parametrize("kind", ["cosine", "exponential", "one_cycle"])
def test_a_schedule_runs_its_whole_curve_over_the_epochs_found(kind: str) -> None:
    """Its rates are not those of the folds, whose early stopping cut the curve."""
    config = config_of(10, schedule={"kind": kind, "floor": 0.01}, early_stopping={"patience_epochs": 1})
    (stage,) = refit_config(config, [keeping(climb([0.1, 0.2, 0.3, 0.4, 0.3]), 4)]).stages
    assert (stage.epochs, stage.schedule) == (4, config.stages[0].schedule)
    whole, cut = rates(stage, 50), rates(config.stages[0], 50)[: 4 * 50]
    assert whole[-1] == pytest.approx(0.01 * stage.learning_rate, rel=0.05)
    assert cut[-1] > 5 * whole[-1]


@given(st.lists(st.lists(st.integers(1, 4), min_size=2, max_size=2), min_size=1, max_size=5), st.data())
def test_a_refit_is_never_longer_than_planned_nor_than_the_longest_training(lengths, data) -> None:
    config = config_of(4, 4)
    trainings = []
    for first, second in lengths:
        reports = climb([0.5] * first, [0.5] * second)
        trainings.append(keeping(reports, data.draw(st.integers(1, len(reports)))))
    found = refit_config(config, trainings)
    for number, stage in enumerate(found.stages):
        assert 1 <= stage.epochs <= max(pair[number] for pair in lengths)
    reached = [reports[-1].kept_epoch > pair[0] for reports, pair in zip(trainings, lengths, strict=True)]
    assert len(found.stages) == 1 or any(reached)


def test_without_folds_the_configuration_must_be_the_trials() -> None:
    trial, reports = config_of(2, 2), keeping(climb([0.1, 0.2], [0.3, 0.4]), 2)
    assert [stage.epochs for stage in trial_refit_config(trial, trial, reports).stages] == [2]
    with pytest.raises(StudyError, match=r"set retrain\.folds to 2 or more"):
        trial_refit_config(config_of(2, 3), trial, reports)


def test_a_recipe_without_folds_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(FIXED.replace("retrain:\n", "retrain:\n  photos: all\n"))
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "photos: all" in text)
    with pytest.raises(ExperimentError, match=rf"x\.yaml:{line}") as error:
        load(file)
    assert "retrain.photos" in str(error.value)
    assert load(file, ["retrain.folds=2"]).photos == "all"


def test_without_folds_the_weights_of_the_searchs_trial_must_be_there_before_anything_trains(tmp_path: Path) -> None:
    folder, experiment = untrained_study(tmp_path, "retrain={photos: all}")
    config = final_config(folder, experiment, 1)
    said: list[str] = []
    trained = partial(
        retrain, folder, experiment, config, trial=1, say=said.append, mains=ChildMains(noting_child, score_at_once)
    )
    gone = rf"those of trial 0001 are gone .*retrain {folder.root} --replace --set retrain\.folds=5' trains on folds"
    with pytest.raises(StudyError, match=gone):
        trained()
    assert final_reports(folder) == ()
    weights = Study.open(folder.root, read_only=True).record(1).reports[-1].best_weights
    finish_files(folder.trial(1), weights)
    trained()
    assert len(final_reports(folder)) == 1
    scores = replace(read_scores(folder), refit=RefitScore(LABELLED, (("head", 2), ("top", 1)), 0.03))
    folder.scores.write_text(json.dumps(asdict(scores)), encoding="utf-8")
    folder.model.write_bytes(b"a model")
    (folder.trial(1) / weights).unlink()
    trained()
    assert said[-1].startswith(f"{folder.retrain} is already finished"), "which needs no weights"
    with pytest.raises(StudyError, match=gone):
        run_retrain(folder, experiment, trial=1, replace=True)
    assert folder.model.exists(), "it is kept, since none could follow it"


@pytest.fixture(scope="module")
def refitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, str]:
    cwd = tmp_path_factory.mktemp("refitted")
    write_tiny(cwd, REFITTED)
    done = run_cli("train", "tiny.yaml", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return StudyFolder(cwd / "results" / "tiny"), done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_photos_train_once_the_folds_have_told_how_long(refitted: tuple[StudyFolder, str]) -> None:
    folder, printed = refitted
    study = Study.open(folder.retrain, read_only=True)
    records = study.records()
    assert [(record.state, record.fold) for record in records] == [
        (TrialState.COMPLETE, 0),
        (TrialState.COMPLETE, 1),
        (TrialState.COMPLETE, EVERY_PHOTO),
    ]
    assert study.config(2) == refit_config(study.config(0), [record.reports for record in records[:2]])
    assert [report.kept_epoch for report in records[2].reports] == list(range(1, len(records[2].reports) + 1))
    data_root = folder.root.parents[1] / "data"
    whole = read_study_split(folder.retrain_study, data_root, "", fold=EVERY_PHOTO)
    own = read_split(folder.split, data_root)
    assert sorted(whole.train.ids) == sorted([*own.train.ids, *own.validation.ids])
    assert len(whole.validation) == 0
    lines = [line for line in printed.splitlines() if line.startswith("all photos  epoch")]
    assert len(lines) == len(records[2].reports)
    assert all("no validation" in line for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_scores_and_expectation_are_said_to_be_the_folds(refitted: tuple[StudyFolder, str]) -> None:
    folder, printed = refitted
    scores = read_scores(folder)
    records = Study.open(folder.retrain, read_only=True).records()
    assert scores.refit is not None
    assert (scores.refit.photos, scores.folds, scores.validation_photos) == (LABELLED, 2, LABELLED)
    assert sum(epochs for _, epochs in scores.refit.stages) == len(records[2].reports)
    assert scores.expected is not None
    assert scores.expected.of == "the folds' models, each trained on fewer photos"
    assert scores.refit.line("the folds") in printed
    card = load_model(folder.model).card
    assert card.members == 1
    assert "Final training</h2>" in (page := folder.report.read_text(encoding="utf-8"))
    told = scores.refit.line("the folds")
    assert f"{told[:1].upper()}{told[1:]}.".replace("'", "&#39;") in page
    assert "2 trainings on as many folds, and one on all photos at 32 px" in page
    assert not re.search(r"averages all models", page)
    submitted = run_cli("submit", "results/tiny", cwd=folder.root.parents[1])
    assert submitted.returncode == 0, submitted.stderr


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_a_kill_while_all_photos_train_changes_nothing(refitted: tuple[StudyFolder, str], tmp_path: Path) -> None:
    write_tiny(tmp_path, REFITTED)
    folder = StudyFolder(tmp_path / "results" / "tiny")
    process = start_cli("train", "tiny.yaml", cwd=tmp_path)
    below: set[int] = set()
    try:
        wait_until(lambda: process.poll() is not None or _refitted_epochs(folder) > 0, "an epoch on all photos")
        below = set(descendants(process.pid))
    finally:
        kill({process.pid} | {pid for pid in below if is_alive(pid)})
        process.wait()
    done = run_cli("train", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        timeless(Study.open(one.retrain, read_only=True).records(), uninterrupted=False)
        for one in (folder, refitted[0])
    )
    assert _comparable(ours) == _comparable(theirs)
    again = run_cli("train", "tiny.yaml", cwd=tmp_path)
    assert "already finished" in again.stdout
    without = run_cli("train", "tiny.yaml", "--set", "retrain.photos=train", cwd=tmp_path)
    assert without.returncode == 2, "the file's settings made this folder"


def _refitted_epochs(folder: StudyFolder) -> int:
    trained = final_reports(folder)
    return len(trained[2]) if len(trained) > 2 else 0


def _comparable(records) -> list[str]:
    """As text, since NaN is unequal to itself."""
    return [json.dumps([report.to_json() for report in record.reports], sort_keys=True) for record in records]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_folds_the_searchs_trial_is_scored_in_its_place(retrained: Ran, tmp_path: Path) -> None:
    root = tmp_path / "results" / "tiny"
    shutil.copytree(retrained.folder.root, root)
    shutil.copytree(retrained.cwd / "data", tmp_path / "data")
    folder = StudyFolder(root)
    refused = run_cli("retrain", "results/tiny", "--replace", "--set", "retrain.photos=all", cwd=tmp_path)
    assert refused.returncode == 2
    assert "set retrain.folds to 2 or more" in refused.stderr
    done = run_cli("retrain", "results/tiny", "--replace", "--set", "retrain={photos: all}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = read_scores(folder)
    study = Study.open(folder.root, read_only=True)
    best = study.record(scores.trial).best
    assert scores.plain_accuracy == pytest.approx(best.val_accuracy)
    assert scores.refit is not None
    assert scores.refit.photos == LABELLED
    assert [record.fold for record in Study.open(folder.retrain, read_only=True).records()] == [EVERY_PHOTO]
    assert scores.expected is not None
    assert scores.expected.of == "the search's trial, trained on fewer photos"
    assert "the scores are those of the search's trial" in done.stdout
