"""Runs the learning-rate range test of an experiment file in this process. No study and no store is read or written."""

import os
from collections.abc import Callable

from carcls.backend import devices
from carcls.config import TrainConfig
from carcls.input.training_data import TrainingData
from carcls.training.rate_test import StageRates, find_rates
from carcls.training.steps.rate_range import rising_rates
from search.driver.create import scan_and_split
from search.errors import ExperimentError
from search.experiment.experiment import Experiment
from search.experiment.node_store import open_store
from search.experiment.settings import StoreSettings
from search.worker.machine_memory import gpu_count


def run_rate_test(
    experiment: Experiment,
    *,
    low: float,
    high: float,
    steps: int,
    on_device: Callable[[str], None],
    on_stage: Callable[[StageRates], None],
) -> tuple[TrainConfig, tuple[StageRates, ...]]:
    """Tests each stage of the recipe, or of the baseline of a file with domains. Returns the configuration and results.

    low, high: the first and last rate. steps: of each stage at most. on_device: called once, with the device that
    trains. on_stage: called after each stage. Raises ExperimentError if photos or weights are missing, DataError for
    photos that cannot be trained on, DeviceError for a GPU that cannot be used, ValueError for rates that do not rise,
    and the errors of `find_rates`.
    """
    rates = rising_rates(low, high, steps)
    if missing := experiment.missing_files():
        raise ExperimentError(missing)
    config = experiment.bind(experiment.baseline)
    _, split = scan_and_split(experiment)
    share = gpu_share(experiment.search.resources.gpus_per_trial, gpus=gpu_count())
    devices.configure(
        threads=None,
        deterministic=experiment.search.deterministic,
        gpu_memory_share=share,
        gpu=None if share is None else 0,
    )
    on_device(devices.describe())
    data = TrainingData(
        split=split,
        store=open_store(StoreSettings(enabled=False)),
        view_seed=experiment.search.seed,
        processes=len(os.sched_getaffinity(0)),
    )
    return config, find_rates(config, data, rates.tolist(), on_stage)


def gpu_share(wished: float | None, *, gpus: int) -> float | None:
    """The whole first GPU, or None to train on the CPU. Pure.

    wished: GPUs of a trial by the file, None for the default. gpus: of this machine.
    """
    return 1.0 if gpus and wished != 0 else None
