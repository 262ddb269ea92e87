"""A finished search of two backbones and its final training, with files as of real ones and no training at all."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from carcls.config import TrainConfig
from carcls.demo.sample import write_sample
from carcls.splits.k_folds import read_folds
from carcls.training.retention import trial_file
from search.driver.create import create_study
from search.experiment.experiment import Experiment, load
from search.final.final_study import open_final_study
from search.final.retrain import final_config
from search.policy.time_plan import FINAL
from search.study.folder import StudyFolder
from search.study.run_hours import WholeRun
from search.study.study import Study
from tests.helpers.search.hanging_final import EPOCHS, SCORES
from tests.helpers.search.tiny import CLASSES, TRAIN_PER_CLASS
from tests.helpers.search.trained_study import TWO_WIDTHS

FOLDS = 2
BEGUN = WholeRun(
    hours=99.0,
    outside_s=0.0,
    folds=FOLDS,
    is_refitted=False,
    final_ratio=2.0,
    at_once=1,
    stage=FINAL,
    has_other=True,
    counted=("retrain",),
)
"""A whole run whose own final training is over."""


def untrained_study(cwd: Path, *changes: str, per_class: int = TRAIN_PER_CLASS) -> tuple[StudyFolder, Experiment]:
    """Of two whole trials, the first of one backbone and the second of another. changes: of the experiment file.

    There are no photos to predict. per_class: labelled ones of each class.
    """
    file = cwd / "tiny.yaml"
    file.write_text(TWO_WIDTHS, encoding="utf-8")
    write_sample(cwd / "data", classes=CLASSES, train_per_class=per_class, test_per_class=1)
    shutil.rmtree(cwd / "data" / "test_upload")
    (cwd / "data" / "sample-submission.csv").unlink()
    experiment = load(file, [f"results={cwd / 'results'}", f"data.root={cwd / 'data'}", *changes])
    folder = create_study(experiment)
    with Study.open(folder.root) as study:
        for number, alpha in enumerate((0.25, 0.5)):
            params = {"train.head.dropout": 0.25, "train.stages.head.learning_rate": 1e-3, "train.alpha": alpha}
            config = experiment.bind(params)
            study.add_trial(params, config, space=experiment.space, is_baseline=not number)
            finish_training(study, number, config)
        study.finish()
    return folder, experiment


def add_final(folder: StudyFolder, experiment: Experiment, trial: int = 0) -> None:
    """Adds a trial's final training, on folds."""
    asked = replace(experiment, folds=FOLDS)
    config = final_config(folder, asked, trial)
    folder.retrain.mkdir()
    with open_final_study(folder, asked, config) as study:
        for number in range(FOLDS):
            finish_training(study, number, config)
            finish_files(folder.retrain_study.trial(number), study.record(number).reports[-1].best_weights)
        study.finish()
    folds = read_folds(folder.retrain_study.folds, experiment.data.root)
    parts = [folds.split(number).validation for number in range(FOLDS)]
    ids, labels = [id_ for part in parts for id_ in part.ids], np.concatenate([part.labels for part in parts])
    said = np.full((len(labels), CLASSES), 1 / CLASSES, np.float32)
    np.savez(folder.out_of_fold, ids=np.array(ids), labels=labels, **{"view/plain": said})
    scores = replace(SCORES, trial=trial, folds=FOLDS, out_of_fold=True)
    folder.scores.write_text(json.dumps(asdict(scores)), encoding="utf-8")
    folder.model.write_bytes(b"a model")


def finish_training(study: Study, number: int, config: TrainConfig, reports: Sequence = EPOCHS) -> None:
    """Records a training's epochs and its end."""
    study.start_segment(number, len(config.stages) - 1, run_to_end=False)
    for report in reports:
        study.report(number, report)
    study.reach_stage(number)


def finish_files(trial: Path, name: str) -> None:
    """Writes weights of this name."""
    path = trial_file(trial, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
