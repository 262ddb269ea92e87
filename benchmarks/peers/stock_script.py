"""A resumable search as Ray's guides write it: python -m benchmarks.peers.stock_script FOLDER. Killed by stock_kills.

Written after "How to Enable Fault Tolerance in Ray Tune", "How to Save and Load Trial Checkpoints" and the pages of
OptunaSearch and AsyncHyperBandScheduler: a function trainable that hands over a checkpoint with each report, failures
retried three times, and `Tuner.restore` wherever there is something to restore. What is not of the guides is there to
look on: a callback that writes down what the driver has heard, and the fault that the trainable is told to have.
"""

import argparse
import json
import logging
import math
import os
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.peers.stock_notes import Note, append_note, key_of, number_of

EXPERIMENT = "search"
MAX_FAILURES = 3
SETUP, NOTES = "STOCK_SETUP", "STOCK_NOTES"
"""Environment of a driver and of the workers that it starts: a `Setup` as JSON, and the file of notes."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One search, and what goes wrong in it. `fault`: "error", "memory", "nan", or nothing."""

    trials: int = 6
    seed: int = 1
    epochs: int = 9
    epoch_s: float = 0.2
    checkpoint_bytes: int = 8192
    num_to_keep: int | None = None
    """Of CheckpointConfig: None, the default, keeps every checkpoint, and has the search's state saved every 10 s."""
    batch_sizes: tuple[int, ...] = (16, 32, 64, 128)
    fault: str = ""
    fault_trial: int | None = None
    """By order of their beginnings; None: all."""
    fault_epoch: int = 1
    """From which on it happens."""
    room: int = 32
    """The largest batch without an error of memory, where that is the fault."""

    @classmethod
    def from_environment(cls) -> "Setup":
        return cls(**json.loads(os.environ[SETUP]))

    def environment(self, life: int, notes: Path) -> dict[str, str]:
        return {SETUP: json.dumps(asdict(self)), NOTES: str(notes), "STOCK_LIFE": str(life)}


def train(config: dict[str, Any]) -> None:
    """Epochs of a formula: weights that do nothing, an accuracy that climbs to what the configuration is worth."""
    setup = Setup.from_environment()
    epoch, weights = 0, np.zeros(setup.checkpoint_bytes // 8)
    note("started", config, epoch)
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder, np.load(Path(folder) / "state.npz") as state:
            epoch, weights = int(state["epoch"]), state["weights"]
    note("begun", config, epoch)
    while epoch < setup.epochs:
        epoch += 1
        time.sleep(setup.epoch_s)
        accuracy = _accuracy(setup, config, epoch)
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "state.npz", epoch=epoch, weights=weights)
            note("trained", config, epoch)
            tune.report({"accuracy": accuracy, "epoch": epoch}, checkpoint=tune.Checkpoint.from_directory(folder))


def note(event: str, config: dict[str, Any], epoch: int, **extra: int) -> None:
    life = int(os.environ["STOCK_LIFE"])
    append_note(Path(os.environ[NOTES]), Note(life, event, key_of(config), epoch, os.getpid(), time.time(), **extra))


def _accuracy(setup: Setup, config: dict[str, Any], epoch: int) -> float:
    """Of an epoch; raises what the setup wants raised."""
    if setup.fault and epoch >= setup.fault_epoch and _is_struck(setup, config):
        if setup.fault == "error":
            note("raised", config, epoch)
            raise RuntimeError("the photos cannot be read")
        if setup.fault == "memory" and config["batch_size"] > setup.room:
            note("raised", config, epoch)
            raise MemoryError(f"no room for {config['batch_size']} photos")
        if setup.fault == "nan":
            return math.nan
    return worth(config) * (1 - math.exp(-epoch / 3))


def worth(config: dict[str, Any]) -> float:
    """The accuracy in the long run; the batch has no part in it."""
    return 0.95 - 0.1 * (math.log10(config["learning_rate"]) + 3) ** 2 - (config["dropout"] - 0.2) ** 2


def space(setup: Setup) -> dict[str, Any]:
    return {
        "learning_rate": tune.loguniform(1e-5, 1e-1),
        "dropout": tune.uniform(0.0, 0.5),
        "batch_size": tune.choice(list(setup.batch_sizes)),
    }


def _is_struck(setup: Setup, config: dict[str, Any]) -> bool:
    return setup.fault_trial is None or number_of(Path(os.environ[NOTES]), key_of(config)) == setup.fault_trial


@dataclass
class HeardByDriver(tune.Callback):
    """Notes of what the driver has heard, with what scheduler and searcher know by then."""

    watched: list[tune.Tuner] = field(default_factory=list, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """A tuner's snapshot must not hold the tuner."""
        return {"watched": []}

    def on_trial_result(self, iteration: int, trials: object, trial: Any, result: dict[str, Any], **_: object) -> None:  # noqa: ANN401 - Ray's own
        note("heard", trial.config, result["epoch"], **_knowledge())

    def on_trial_complete(self, iteration: int, trials: object, trial: Any, **_: object) -> None:  # noqa: ANN401 - Ray's own
        note("ended", trial.config, trial.last_result.get("epoch", 0), **_knowledge())

    def on_trial_error(self, iteration: int, trials: object, trial: Any, **_: object) -> None:  # noqa: ANN401 - Ray's own
        note("failed", trial.config, trial.last_result.get("epoch", 0), **_knowledge())


_tuner: tune.Tuner | None = None
"""The one that this process runs: its callback is read from a snapshot and cannot be handed it."""


def _knowledge() -> dict[str, int]:
    """Values in ASHA's rungs, and trials that the sampler's study has an end of. Through private names of Ray's."""
    assert _tuner is not None  # noqa: S101 - set before `fit`, which calls back
    settings = _tuner._local_tuner._tune_config
    rungs = [recorded for bracket in settings.scheduler._brackets for _, recorded in bracket._rungs]
    study = settings.search_alg._ot_study
    ended = [trial for trial in study.trials if trial.state.is_finished()] if study else []
    return {"in_rungs": sum(map(len, rungs)), "in_sampler": len(ended)}


def make_tuner(folder: Path, setup: Setup) -> tune.Tuner:
    """A new search, or the one whose snapshot lies in the folder."""
    path = folder / EXPERIMENT
    if tune.Tuner.can_restore(str(path)):
        return tune.Tuner.restore(str(path), trainable=train, resume_errored=True, restart_errored=False)
    return tune.Tuner(
        train,
        param_space=space(setup),
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            search_alg=OptunaSearch(seed=setup.seed),
            scheduler=AsyncHyperBandScheduler(max_t=setup.epochs, grace_period=3, reduction_factor=3),
            num_samples=setup.trials,
            max_concurrent_trials=1,
        ),
        run_config=tune.RunConfig(
            name=EXPERIMENT,
            storage_path=str(folder),
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=setup.num_to_keep),
            callbacks=[HeardByDriver()],
        ),
    )


def main() -> None:
    global _tuner  # noqa: PLW0603 - see there
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.stock_script", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the search and its snapshots lie")
    parser.add_argument("--ray", type=Path, required=True, help="a folder for Ray's session; its path must be short")
    arguments = parser.parse_args()
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        _temp_dir=str(arguments.ray),
        logging_level=logging.WARNING,
    )
    note("ready", {}, 0)
    _tuner = make_tuner(arguments.folder, Setup.from_environment())
    results = _tuner.fit()
    trials = [
        {"key": key_of(result.config), "epoch": result.metrics.get("epoch", 0), "failed": result.error is not None}
        for result in results
    ]
    print("RESULT " + json.dumps({"trials": trials}), flush=True)


if __name__ == "__main__":
    # Workers find the trainable by its module's name, which is not that of a script.
    from benchmarks.peers import stock_script

    stock_script.main()
