"""Scoring the models of two folds: the views, what is told of them, and the file that keeps what each view said."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from carcls.dataset.loading import load_dataset
from carcls.events import EpochReport
from carcls.inference.export import load_model
from carcls.inference.view_choice import choose_views
from carcls.inference.view_priors import recorded_priors
from carcls.input.training_data import TrainingData
from carcls.splits.extra import unlabelled_photos, write_extra
from carcls.splits.k_folds import make_folds
from carcls.splits.split import make_split
from carcls.splits.split_files import write_split
from carcls.store import Store
from carcls.training.fine_tuning import fine_tune
from search.experiment.experiment import load
from search.final.scoring import score
from search.report.sections.final_training import final_training
from search.study.final_scores import Scores, score_lines, scores_from_json
from search.study.folder import StudyFolder
from tests.helpers.search.tiny import CLASSES, FIXED, TRAIN_PER_CLASS, write_tiny

FLIP = ("plain", "flip")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, Scores]:
    return score_folds(tmp_path_factory.mktemp("scored"), FIXED)


def score_folds(root: Path, study: str) -> tuple[StudyFolder, Scores]:
    """Trains the first stage of two folds, and scores it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        experiment = load(write_tiny(root, study, test_per_class=4))  # enough to tell how far models disagree
    folder = StudyFolder(root / "results" / "tiny")
    folder.retrain.mkdir(parents=True)
    dataset = load_dataset(experiment.data.root, processes=1)
    split = make_split(dataset, fraction=0.25, seed=0)
    write_split(split, folder.split)
    to_predict = unlabelled_photos(dataset)
    assert to_predict is not None
    write_extra(to_predict, folder.unlabelled)
    folds = make_folds(split, count=2, seed=0)
    config = experiment.bind({})
    parts, members = [], []
    for fold in range(2):
        data = TrainingData(split=folds.split(fold), store=Store(root / "store"), view_seed=0)
        reports: list[EpochReport] = []
        trial = folder.retrain_study.trial(fold)
        trial.mkdir(parents=True)
        fine_tune(config, data, reports.append, folder=trial, stop_after_stage=0)
        parts.append(data)
        members.append(reports)
    return folder, score(folder, experiment, config, parts, members, trial=None)


def test_the_views_are_chosen_by_the_shipped_prior_and_the_out_of_fold_photos(scored) -> None:
    folder, scores = scored
    with np.load(folder.out_of_fold) as stored:
        by_view = {view: stored[f"view/{view}"] for view in FLIP}
        labels = stored["labels"]
    assert len(labels) == CLASSES * TRAIN_PER_CLASS
    priors = recorded_priors()
    choice = choose_views(by_view, labels, confidence=0.9, seed=0, priors=priors)
    assert scores.tta_views == choice.views == load_model(folder.model).card.tta_views
    evidence = scores.tta_evidence
    assert evidence == choice.evidence
    assert evidence is not None
    assert evidence.views == FLIP
    assert (evidence.prior, evidence.prior_sd) == (priors[FLIP].gain.mean, priors[FLIP].gain.sd)


def test_terminal_file_and_report_tell_the_evidence(scored) -> None:
    _, scores = scored
    written = json.loads(json.dumps(asdict(scores), allow_nan=False))
    assert scores_from_json(written) == scores
    line = scores.tta_evidence.line()
    assert line in score_lines(scores)
    assert final_training(written).view_evidence == line


def test_what_is_expected_is_of_the_views_in_use(scored) -> None:
    _, scores = scored
    assert scores.expected is not None
    assert scores.expected.of == "the model"
    assert scores.expected.low <= scores.expected.accuracy <= scores.expected.high


def test_an_average_of_rectangles_is_timed_at_their_size(tmp_path: Path) -> None:
    folder, scores = score_folds(tmp_path, FIXED.replace("image_size: 32", "image_size: [32, 48]"))
    assert (scores.image_size, scores.folds) == ("32x48", 2)
    assert load_model(folder.model).model.input_shape == (None, 32, 48, 3)
    assert scores.efficiency is not None
    assert scores.efficiency.plain_s_per_photo > 0.0
