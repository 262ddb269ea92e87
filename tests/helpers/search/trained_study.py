"""A study of the tiny experiment, trained in this process: real trials without Ray, within seconds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from carcls.backend import devices
from carcls.events import EpochReport
from carcls.input.training_data import TrainingData
from carcls.splits.split_files import read_split
from carcls.store import Store
from carcls.training.fine_tuning import fine_tune
from search.driver.create import create_study
from search.experiment.experiment import load
from search.study.folder import StudyFolder
from search.study.study import Study
from tests.helpers.search.tiny import EXPERIMENT, TEST_PER_CLASS, write_tiny

TWO_WIDTHS = EXPERIMENT.replace("alpha: 0.25", "alpha: {choice: [0.25, 0.5]}").replace(
    "search:\n", "search:\n  baseline: {alpha: 0.25, head: {dropout: 0.25}, stages: {head: {learning_rate: 0.001}}}\n"
)
"""The tiny experiment with two backbones."""


def trained_study(
    cwd: Path,
    rates: Sequence[float] = (1e-3, 3e-3, 1e-2),
    *,
    alphas: Sequence[float] = (),
    results: str | None = None,
    changes: Sequence[str] = (),
    test_per_class: int = TEST_PER_CLASS,
) -> StudyFolder:
    """A finished search of as many complete trials, each with its own learning rate of the head. cwd: empty.

    alphas: the width of each trial's backbone, of `TWO_WIDTHS`. results: a URL in place of a folder below `cwd`.
    changes: of the experiment file. test_per_class: photos to predict.
    """
    devices.configure(threads=None, deterministic=False, gpu_memory_share=None)
    file = write_tiny(cwd, TWO_WIDTHS if alphas else EXPERIMENT, test_per_class=test_per_class)
    experiment = load(file, [f"results={results or cwd / 'results'}", f"data.root={cwd / 'data'}", *changes])
    folder = create_study(experiment)
    data = TrainingData(read_split(folder.split, experiment.data.root), Store(cwd / "store"), view_seed=0)
    with Study.open(folder.root) as study:
        for place, rate in enumerate(rates):
            params = {"train.head.dropout": 0.25, "train.stages.head.learning_rate": rate}
            if alphas:
                params["train.alpha"] = alphas[place]
            config = experiment.bind(params)
            number = study.add_trial(params, config, space=experiment.space, is_baseline=not place)
            study.start_segment(number, len(config.stages) - 1, run_to_end=False)

            def keep(report: EpochReport, number: int = number) -> None:
                if report.evidence is not None:
                    report.evidence.write(folder.probabilities(number, report.epoch))
                study.report(number, replace(report, evidence=None))

            fine_tune(config, data, keep, folder=folder.trial(number))
            study.reach_stage(number)
        study.finish()
    return folder
