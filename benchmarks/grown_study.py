"""A search of any size as a driver would have left it, written through `Study` without a photo being trained."""

import os
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from carcls.config import TrainConfig
from carcls.demo.sample import write_sample
from carcls.events import EpochReport, PhaseSeconds
from search.driver.create import create_study
from search.experiment.experiment import Experiment, load
from search.progress.tensorboard import TensorBoardWriter
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.made_up_study import Clock

ROOT = Path(__file__).resolve().parents[1]
PROMOTED = 1 / 3
"""Share of trials that each rung promotes."""


@dataclass(frozen=True, slots=True)
class GrownStudy:
    """A study, its folder and its experiment."""

    folder: StudyFolder
    experiment: Experiment


def grow(base: Path, *, trials: int, running: int, seed: int = 0) -> GrownStudy:
    """A study of `experiments/cars.yaml` with that many trials below `base`; the last `running` of them still run.

    Parameters are drawn from the file's space, and curves rise with noise. Of the trials that end a stage, a third
    continue. Each trial has its TensorBoard file, as if `running` trials had trained at once. Nothing is synced to
    disk meanwhile: only the building is in a hurry.
    """
    photos = base / "photos"
    write_sample(photos, train_per_class=10, test_per_class=1)
    overrides = [f"name=grown_{trials}", f"data.root={photos}", f"results={base}", f"search.trials={trials + 1000}"]
    experiment = load(ROOT / "experiments" / "cars.yaml", overrides)
    folder = create_study(experiment)
    rng, clock = np.random.default_rng(seed), Clock(max(1, running))
    events = TensorBoardWriter(folder.root, clock_s=clock)
    with mock.patch.object(os, "fsync"), Study.open(folder.root) as study:
        for number in range(trials):
            params = dict(experiment.baseline) if number == 0 else experiment.space.sample(rng)
            config = experiment.bind(params)
            study.add_trial(params, config, space=experiment.space, is_baseline=number == 0)
            _train(study, number, config, rng, stays_running=number >= trials - running)
            clock.write_events(events, study.record(number))
        study.set_elapsed_s(3600.0)
    return GrownStudy(folder, experiment)


def _train(study: Study, number: int, config: TrainConfig, rng: np.random.Generator, *, stays_running: bool) -> None:
    last = len(config.stages) - 1
    epoch, level = 0, float(rng.uniform(0.3, 0.9))
    for stage in range(last + 1):
        study.start_segment(number, stage)
        planned = config.stages[stage].epochs
        for stage_epoch in range(1, planned + 1):
            if stays_running and stage_epoch == planned:
                return
            epoch += 1
            level += (1.0 - level) * float(rng.uniform(0.0, 0.1))
            study.report(number, epoch_report(epoch, stage, stage_epoch, config, level, ended=stage_epoch == planned))
        study.reach_stage(number)
        if number and stage < last and rng.random() > PROMOTED:
            return


def epoch_report(
    epoch: int, stage: int, stage_epoch: int, config: TrainConfig, level: float, *, ended: bool
) -> EpochReport:
    """An epoch with this validation accuracy, which other scores follow; counts as in `EpochReport`."""
    return EpochReport(
        epoch=epoch,
        stage=stage,
        stage_name=config.stages[stage].name,
        stage_epoch=stage_epoch,
        stage_ended=ended,
        train_loss=1.1 - level,
        train_accuracy=level,
        val_log_loss=1.2 - level,
        val_accuracy=round(level, 4),
        val_macro_f1=level,
        learning_rate=1e-3,
        image_size=224,
        images_per_s=100.0,
        trainable_parameters=1_000_000,
        seconds=PhaseSeconds(train=10.0, validate=1.0, build=1.0),
        checkpoint=f"attempt-{stage}/epoch-{epoch:04d}.npz",
        best_weights=f"attempt-{stage}/best-{epoch:04d}.npz",
        val_scaled_log_loss=1.15 - level,
    )
