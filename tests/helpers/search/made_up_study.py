"""A study on disk with made-up curves and predictions, for pages that show one: drawn photos, but no training."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from carcls.demo.sample import write_sample
from carcls.events import EpochReport, PhaseSeconds
from carcls.scoring.evidence import Evidence, as_evidence
from search.driver.create import create_study
from search.experiment.experiment import Experiment, load
from search.policy.records import TrialRecord, TrialState
from search.progress.tensorboard import TensorBoardWriter
from search.study.checked_files import split_digest
from search.study.folder import StudyFolder
from search.study.stored_split import read_study_split
from search.study.study import Study
from tests.helpers.search.trial_builders import epoch_report

EXPERIMENT = """\
name: made_up
results: RESULTS
data: {root: ROOT, validation: {fraction: 0.4, seed: 0}}
train:
  backbone:
    choice:
      small: {backbone: MobileNet, alpha: 0.25, weights: none}
      large: {backbone: MobileNetV2, alpha: 1.0, weights: none}
  image_size: {choice: [96, 128]}
  batch_size: {int: [8, 64], log: true}
  label_smoothing: {uniform: [0.0, 0.2]}
  head: {dropout: {uniform: [0.0, 0.5]}}
  augment: {policy: {choice: [light, medium]}, views: 2}
  stages:
    - {name: head, unfreeze: 0.0, epochs: 4, learning_rate: {loguniform: [1e-3, 1e-1]}}
    - {name: half, unfreeze: 0.5, epochs: 3, learning_rate: {loguniform: [1e-5, 1e-3]}}
    - {name: full, unfreeze: 1.0, epochs: 3, learning_rate: 1e-4}
search: {trials: TRIALS}
"""
STAGES = (("head", 4), ("half", 3), ("full", 3))
FAILED, FAILED_AFTER = 4, 3
"""Number of the trial that fails, and its epochs."""
CLASSES = 5


class Clock:
    """Unix time that moves as the epochs say, with some trials at a time."""

    def __init__(self, places: int = 2) -> None:
        self.now_s = 1_790_000_000.0
        self._free_s = [self.now_s] * places

    def __call__(self) -> float:
        return self.now_s

    def write_events(self, writer: TensorBoardWriter, record: TrialRecord) -> None:
        """All events of one trial, which trains as soon as one of the places is free."""
        place = self._free_s.index(min(self._free_s))
        self.now_s = self._free_s[place]
        writer.trial_started(record.number, record.params)
        for report in record.reports:
            self.now_s += report.seconds.total
            writer.epoch(record.number, report)
        if record.state is not TrialState.RUNNING:
            writer.trial_ended(record)
        self._free_s[place] = self.now_s


class MadeUpSearch:
    """Adds trials to a study: some run all stages, trial 4 fails, the others are paused."""

    def __init__(self, study: Study, folder: StudyFolder, experiment: Experiment, *, every: int = 3) -> None:
        """every: each so-many-th trial runs all stages."""
        self._every = every
        self._study, self._folder, self._experiment = study, folder, experiment
        self._rng = np.random.default_rng(0)
        split = read_study_split(folder, experiment.data.root, split_digest(study))
        self._labels, self._classes = split.validation.labels, len(split.class_names)

    def add(self, number: int) -> TrialRecord:
        """Trial `number`, from its proposal to its end."""
        space = self._experiment.space
        params = dict(self._experiment.baseline) if number == 0 else space.sample(self._rng)
        self._study.add_trial(params, self._experiment.bind(params), space=space, is_baseline=number == 0)
        skill = 1.2 + 2.0 * self._rng.random() + 0.4 * np.log10(params["train.stages.head.learning_rate"])
        last = 2 if number % self._every == 0 else int(self._rng.integers(2))
        for stage in range(last + 1):
            self._study.start_segment(number, stage)
            for at in range(STAGES[stage][1]):
                self._report(number, stage, at, skill)
                if number == FAILED and self._study.record(number).fidelity == FAILED_AFTER:
                    self._study.fail(number, "ValueError: made up", infeasible=False)
                    return self._study.record(number)
            self._study.reach_stage(number)
        return self._study.record(number)

    def _report(self, number: int, stage: int, at: int, skill: float) -> None:
        epoch = self._study.record(number).fidelity + 1
        probabilities = self._probabilities(skill * (1 - 0.8 * np.exp(-epoch / 3)))
        accuracy = float((probabilities.argmax(axis=1) == self._labels).mean())
        name, epochs = STAGES[stage]
        report: EpochReport = replace(
            epoch_report(epoch, stage=stage, accuracy=accuracy, ended=at == epochs - 1),
            stage_name=name,
            stage_epoch=at + 1,
            seconds=PhaseSeconds(train=2.0 + 3.0 * self._rng.random(), validate=0.1 + 0.3 * self._rng.random()),
        )
        self._study.report(number, report)
        path = self._folder.probabilities(number, epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        Evidence(as_evidence(probabilities, self._labels)).write(path)

    def _probabilities(self, skill: float) -> np.ndarray:
        logits = self._rng.normal(size=(len(self._labels), self._classes))
        logits[np.arange(len(self._labels)), self._labels] += skill
        odds = np.exp(2 * logits)
        return odds / odds.sum(axis=1, keepdims=True)


def made_up_study(
    folder: Path, *, trials: int, per_class: int = 16, every: int = 3, overrides: Sequence[str] = ()
) -> tuple[StudyFolder, Experiment]:
    """A finished search in `folder`/results/made_up on drawn cars of five models, with its event files."""
    write_sample(folder / "data", classes=CLASSES, train_per_class=per_class, test_per_class=1)
    text = EXPERIMENT.replace("TRIALS", str(trials)).replace("RESULTS", str(folder / "results"))
    file = folder / "made_up.yaml"
    file.write_text(text.replace("ROOT", str(folder / "data")), encoding="utf-8")
    experiment = load(file, overrides)
    study_folder = create_study(experiment)
    clock = Clock()
    writer = TensorBoardWriter(study_folder.root, clock_s=clock)
    with Study.open(study_folder.root) as study:
        made_up = MadeUpSearch(study, study_folder, experiment, every=every)
        for number in range(trials):
            clock.write_events(writer, made_up.add(number))
        study.set_elapsed_s(30.0 * trials)
        study.finish()
    return study_folder, experiment
