"""Studies written as a search writes them, with three stages and one parameter."""

from pathlib import Path

import optuna

from carcls.config import StageConfig, TrainConfig
from search.experiment.domains import LogUniform
from search.experiment.space import Parameter, Space
from search.study.record.record_pointer import pointer_of
from search.study.study import Study
from tests.helpers.search.trial_builders import climb

CONFIG = TrainConfig(
    backbone="MobileNetV2",
    alpha=0.35,
    weights="none",
    image_size=32,
    batch_size=4,
    stages=tuple(StageConfig(name=name, unfreeze=0.5, epochs=2, learning_rate=1e-3) for name in ("a", "b", "c")),
)
RATE = "train.rate"
SPACE = Space({"rate": Parameter(RATE, LogUniform(1e-5, 1e-1), ())})


def started(study: Study, *, rate: float = 1e-3, stop_after_stage: int = 0, is_baseline: bool = False) -> int:
    number = study.add_trial({RATE: rate}, CONFIG, space=SPACE, is_baseline=is_baseline)
    study.start_segment(number, stop_after_stage)
    return number


def train(study: Study, number: int, *stages: list[float]) -> None:
    """Reports the epochs of whole stages that the study does not have yet."""
    for report in climb(*stages)[study.record(number).fidelity :]:
        study.report(number, report)


def reopened(study: Study, folder: Path) -> Study:
    study.close()
    return Study.open(folder)


def optuna_trials(folder: Path, name: str = "cars") -> list[optuna.trial.FrozenTrial]:
    """Reads the journal with Optuna alone; one in a database after it was written to a file."""
    log = folder / "study.log"
    pointer = pointer_of(log)
    if pointer is not None:
        log = folder / "copy.log"
        from search.study.record.database_journal import read_lines  # needs an extra

        log.write_bytes(b"".join(read_lines(pointer)))
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(log)))
    return optuna.load_study(study_name=name, storage=storage).trials
