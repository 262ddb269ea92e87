"""The final training of a real study: its training, its scores, and its files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carcls.config import TrainConfig
from carcls.events import best_report
from carcls.inference.export import load_model
from carcls.input.pixels import decode
from carcls.input.training_data import TrainingData
from carcls.splits.split_files import read_split
from carcls.store import Store
from search.errors import StudyError
from search.experiment.experiment import load
from search.final.final_study import final_reports
from search.final.scoring import score
from search.policy.records import TrialState
from search.progress.summary import winner
from search.study.final_lock import retraining
from search.study.final_scores import Scores, read_scores, score_lines
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.processes import run_cli
from tests.helpers.search.ran import Ran
from tests.helpers.search.tiny import VALIDATION_PHOTOS
from tests.helpers.search.trial_builders import climb, trial

COMPLETE, PRUNED = TrialState.COMPLETE, TrialState.PRUNED


def test_the_winner_is_the_best_of_those_that_had_every_stage() -> None:
    records = (
        trial(0, COMPLETE, climb([0.5], [0.6], [0.7])),
        trial(1, COMPLETE, climb([0.5], [0.8], [0.6])),
        trial(2, PRUNED, climb([0.9])),
    )
    assert winner(records).number == 1


def test_the_earlier_of_equals_wins() -> None:
    records = tuple(trial(number, COMPLETE, climb([0.5], [0.6], [0.7])) for number in range(3))
    assert winner(records).number == 0


def test_any_trial_may_be_named() -> None:
    records = (trial(0, COMPLETE, climb([0.5], [0.6], [0.7])), trial(1, PRUNED, climb([0.4])))
    assert winner(records, 1).number == 1
    with pytest.raises(StudyError, match=r"no trial 2 in this study: expected 0 to 1"):
        winner(records, 2)


def test_without_a_complete_trial_it_says_what_to_do() -> None:
    with pytest.raises(StudyError, match=r"resume the search, or give --trial"):
        winner((trial(0, PRUNED, climb([0.5])),))


def test_it_trains_the_winner_with_the_files_changes(retrained: Ran) -> None:
    best = winner(retrained.records)
    config = TrainConfig.model_validate_json((retrained.folder.retrain / "config.json").read_text(encoding="utf-8"))
    searched = Study.open(retrained.folder.root, read_only=True).config(best.number)
    assert [stage.epochs for stage in searched.stages] == [2, 1]
    assert [stage.epochs for stage in config.stages] == [2, 2]
    changed = config.model_dump()
    for stage, before in zip(changed["stages"], searched.stages, strict=True):
        stage["epochs"] = before.epochs
    assert TrainConfig.model_validate(changed) == searched
    epochs = [line.split()[1:3] for line in retrained.output.splitlines() if line.startswith("epoch")]
    assert epochs == [["1/4", "head"], ["2/4", "head"], ["3/4", "top"], ["4/4", "top"]]


def test_the_scores_say_how_good_the_exported_model_is(retrained: Ran) -> None:
    folder = retrained.folder
    scores = read_scores(folder)
    assert set(json.loads(folder.scores.read_text(encoding="utf-8"))) == set(Scores.__dataclass_fields__)
    assert scores.trial == winner(retrained.records).number
    assert scores.validation_photos == VALIDATION_PHOTOS
    assert scores.plain_accuracy == pytest.approx(scores.plain_correct / VALIDATION_PHOTOS)
    assert scores.image_size == 32
    assert scores.tta_interval[0] <= scores.tta_interval[1]
    (reports,) = final_reports(folder)
    best = best_report(reports)
    assert best is not None
    assert (scores.best_epoch, scores.best_stage) == (best.epoch, best.stage_name)
    assert scores.plain_accuracy == pytest.approx(best.val_accuracy)
    assert scores.plain_log_loss == pytest.approx(best.val_log_loss, abs=1e-5)
    assert (scores.folds, scores.out_of_fold, scores.members) == (1, False, ())
    for line in score_lines(scores):
        assert line in retrained.output.splitlines()


def test_the_scores_tell_what_the_training_took(retrained: Ran) -> None:
    folder = retrained.folder
    cost = read_scores(folder).efficiency
    assert cost is not None
    (reports,) = final_reports(folder)
    assert [(stage.name, stage.epochs, stage.image_size_px) for stage in cost.stages] == [
        ("head", 2, 32),
        ("top", 2, 32),
    ]
    assert [stage.trainable_parameters for stage in cost.stages] == [
        reports[0].trainable_parameters,
        reports[-1].trainable_parameters,
    ]
    assert sum(stage.seconds for stage in cost.stages) == pytest.approx(read_scores(folder).seconds)
    assert cost.parameters == load_model(folder.model).model.count_params()
    assert cost.model_bytes == folder.model.stat().st_size
    assert cost.batch_size == 8
    assert cost.peak_memory_bytes is not None
    assert cost.peak_memory_bytes > cost.model_bytes
    assert 0 < cost.plain_s_per_photo <= cost.views_s_per_photo
    page = folder.report.read_text(encoding="utf-8")
    assert "<h3>Efficiency</h3>" in page
    assert f"{cost.parameters:,}".replace(",", "\u202f") + " parameters" in page
    assert '<th class="n" colspan="2">Final training</th></tr>' in page
    assert "Store, final training: " in page


def test_one_validation_photo_is_scored_plain_and_says_so(retrained: Ran, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    shutil.copytree(retrained.folder.retrain, folder.retrain)
    folder.model.unlink()
    split = read_split(retrained.folder.split, retrained.cwd / "data")
    alone = replace(split, validation=split.validation.select([0]))
    scores = score(
        folder,
        load(retrained.folder.experiment),
        TrainConfig.model_validate_json((folder.retrain / "config.json").read_text(encoding="utf-8")),
        [TrainingData(split=alone, store=Store(tmp_path / "store"), view_seed=0)],
        final_reports(folder),
        trial=None,
    )
    assert (scores.validation_photos, scores.tta_views, scores.tta_interval) == (1, ("plain",), (0.0, 0.0))
    assert scores.tta_note == "no TTA: 1 validation photo cannot choose views"
    assert (scores.tta_accuracy, scores.tta_log_loss) == (scores.plain_accuracy, scores.plain_log_loss)
    assert load_model(folder.model).card.tta_views == ("plain",)


def test_the_exported_model_answers_as_it_was_scored(retrained: Ran) -> None:
    folder, scores = retrained.folder, read_scores(retrained.folder)
    validation = read_split(folder.split, retrained.cwd / "data").validation
    exported = load_model(folder.model)
    photos = np.stack([decode(validation.root / path, scores.image_size) for path in validation.paths])
    answers = np.asarray(exported.model.predict(photos, verbose=0)).argmax(axis=1)
    assert int((answers == validation.labels).sum()) == scores.plain_correct
    assert exported.card.class_names == ("0", "1", "2")
    assert exported.card.tta_views == scores.tta_views
    assert exported.card.size_px == 32


def test_the_recipe_is_an_experiment_that_trains_the_same(retrained: Ran) -> None:
    folder = retrained.folder
    checked = run_cli("check", str(folder.recipe), cwd=retrained.cwd)
    assert checked.returncode == 0, checked.stderr
    assert "one fixed recipe" in checked.stdout
    recipe = load(folder.recipe)
    assert recipe.is_fixed
    assert recipe.bind({}) == TrainConfig.model_validate_json((folder.retrain / "config.json").read_text("utf-8"))
    assert recipe.data == load(folder.experiment).data
    assert recipe.tta == load(folder.experiment).tta
    assert recipe.search.deterministic, "else it would not train to the same numbers"


def test_a_second_call_is_done_at_once_and_another_trial_is_refused(retrained: Ran) -> None:
    folder: StudyFolder = retrained.folder
    model = folder.model.read_bytes()
    again = run_cli("retrain", str(folder.root), cwd=retrained.cwd)
    other = next(record.number for record in retrained.records if record.number != winner(retrained.records).number)
    refused = run_cli("retrain", str(folder.root), "--trial", str(other), cwd=retrained.cwd)

    assert again.returncode == 0, again.stderr
    assert "is already finished" in again.stdout
    assert folder.model.read_bytes() == model
    assert refused.returncode == 2
    assert "another configuration" in refused.stderr
    assert "--replace" in refused.stderr
    assert folder.model.read_bytes() == model


def test_while_one_process_trains_no_other_trains_or_deletes(retrained: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    from search.driver.create import create_study

    folder = retrained.folder
    monkeypatch.chdir(retrained.cwd)
    with retraining(folder):
        refused = run_cli("retrain", str(folder.root), "--replace", cwd=retrained.cwd)
        with pytest.raises(StudyError, match="retrain is in use by process"):
            create_study(load(retrained.file), replace=True)
    assert refused.returncode == 2
    assert "retrain is in use by process" in refused.stderr
    assert folder.model.exists()
    assert not list(retrained.cwd.joinpath("results").glob(".*")), "no draft is left behind"
