"""Ray Tune's own record of an experiment, built from a study's trials by Ray Tune's classes: nothing is trained.

`TuneController` writes the whole experiment into one JSON file at every checkpoint, by default so rarely that it takes
5 % of the driver's time, and a restored run reads that file. Each trial keeps its last result, and for each metric the
latest, the best, the worst and two running averages; the epochs themselves are in each trial's `result.json` and
`progress.csv`, which a restored run does not read. Ours holds every epoch and loses none.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import ray
from ray import tune
from ray.air.execution import FixedResourceManager
from ray.train._internal.storage import StorageContext
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.impl.tuner_internal import ResumeConfig

from carcls.events import EpochReport
from search.policy.records import TrialRecord, TrialState

_STATUS = {
    TrialState.WAITING: Trial.PENDING,
    TrialState.RUNNING: Trial.PENDING,
    TrialState.PAUSED: Trial.PAUSED,
    TrialState.COMPLETE: Trial.TERMINATED,
    TrialState.PRUNED: Trial.TERMINATED,
    TrialState.FAIL: Trial.ERROR,
}
_NAME = "peer"


def tune_state_costs(
    records: Sequence[TrialRecord], folder: Path, cpu_s: Callable[[Callable[[], object]], float]
) -> dict[str, float]:
    """CPU seconds to write and to restore the experiment's state, and its size in MB. cpu_s: measures an action."""
    # Ray Tune starts Ray on its own otherwise, in the middle of a measurement.
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        return _costs(records, folder, cpu_s)
    finally:
        ray.shutdown()


def _costs(
    records: Sequence[TrialRecord], folder: Path, cpu_s: Callable[[Callable[[], object]], float]
) -> dict[str, float]:
    tune.register_trainable(_NAME, _train)
    controller = _controller(folder)
    for record in records:
        controller._trials.append(_trial(record, controller))
    controller._trials_to_cache.update(controller._trials)
    save_s = cpu_s(controller.save_to_dir)
    state = Path(controller.experiment_state_path)
    size_mb = state.stat().st_size / 1e6
    controller.checkpoint(force=True, wait=True)
    restored = _controller(folder)
    restore_s = cpu_s(lambda: restored.resume(ResumeConfig()))
    if len(restored.get_trials()) != len(records):
        raise RuntimeError(f"Ray Tune restored {len(restored.get_trials())} of {len(records)} trials")
    return {"tune_save": save_s, "tune_open": restore_s, "tune_mb": size_mb}


def _train(config: dict[str, object]) -> None:
    """Never called: Ray Tune restores only trials of a trainable that it knows."""


def _controller(folder: Path) -> TuneController:
    storage = StorageContext(storage_path=str(folder), experiment_dir_name="peer")
    return TuneController(storage=storage, resource_manager_factory=lambda: FixedResourceManager({"CPU": 1.0}))


def _trial(record: TrialRecord, controller: TuneController) -> Trial:
    trial = Trial(
        _NAME,
        config=dict(record.params),
        trial_id=f"{record.number:08d}",
        storage=controller._storage,
        evaluated_params=dict(record.params),
        _setup_default_resource=False,
    )
    trial.create_placement_group_factory()
    trial.status = _STATUS[record.state]
    for report in record.reports:
        trial.update_last_result(_result(report))
    return trial


def _result(report: EpochReport) -> dict[str, object]:
    """What a trainable would report for one epoch: the scores, without our times by phase and paths."""
    return {
        "training_iteration": report.epoch,
        "time_this_iter_s": report.seconds.total,
        "done": False,
        "val_accuracy": report.val_accuracy,
        "val_log_loss": report.val_log_loss,
        "val_macro_f1": report.val_macro_f1,
        "train_loss": report.train_loss,
        "train_accuracy": report.train_accuracy,
        "learning_rate": report.learning_rate,
    }
