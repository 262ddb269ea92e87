from collections.abc import Sequence
from pathlib import Path

import pytest

from search.driver.callbacks import ProgressListener, spent
from search.experiment.experiment import Experiment, load
from search.policy.budget import GpuMeter
from search.policy.records import TrialRecord, TrialState
from search.progress.event_files import WrittenEvents, read_events
from search.progress.summary import Spent
from search.progress.tensorboard import TensorBoardWriter
from search.study.study import Study
from tests.helpers.search.trial_builders import climb

DEMO = Path(__file__).parents[3] / "experiments/demo.yaml"
STAGES = ([0.25, 0.5, 0.5], [0.5, 0.5], [0.75])


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return load(DEMO, ["search.budget={hours: 2, gpu_hours: 3}"])


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.create(tmp_path, "demo")


class Shown:
    """A progress display that keeps what it is given."""

    def __init__(self) -> None:
        self.states: list[tuple[TrialState, ...]] = []

    def update(self, records: Sequence[TrialRecord], spent: Spent) -> None:
        self.states.append(tuple(record.state for record in records))


def watch(experiment: Experiment, study: Study, folder: Path, shown: Shown) -> ProgressListener:
    return ProgressListener(experiment, study, TensorBoardWriter(folder), shown)


def add_trial(experiment: Experiment, study: Study, *stages: Sequence[float]) -> int:
    number = study.add_trial(experiment.baseline, experiment.bind(experiment.baseline))
    study.start_segment(number, len(stages) - 1)
    for report in climb(*stages):
        study.report(number, report)
    return number


def test_events_reach_the_terminal_and_tensorboard(experiment, study, tmp_path):
    shown = Shown()
    desk = watch(experiment, study, tmp_path, shown)
    add_trial(experiment, study)
    desk.started(0)
    study.report(0, climb([0.25])[0])
    desk.reported(0, climb([0.25])[0])
    study.reach_stage(0)
    desk.ended(0)
    assert read_events(tmp_path / "trials/0000") == WrittenEvents(started=True, ended=False, epochs=frozenset({1}))
    study.finish()
    desk.finished()
    assert read_events(tmp_path / "trials/0000").ended
    assert shown.states == [(state,) for state in ("RUNNING", "RUNNING", "PAUSED", "PRUNED")]


def test_the_next_driver_writes_what_a_killed_one_recorded(experiment, study, tmp_path):
    add_trial(experiment, study, *STAGES)
    watch(experiment, study, tmp_path, Shown())
    whole = frozenset(range(1, 7))
    assert read_events(tmp_path / "trials/0000") == WrittenEvents(started=True, ended=False, epochs=whole)
    study.fail(0, "disk", infeasible=False)
    watch(experiment, study, tmp_path, Shown())
    assert read_events(tmp_path / "trials/0000") == WrittenEvents(started=True, ended=True, epochs=whole)


def test_device_hours_count_gpu_shares_or_trials(experiment):
    seconds = 3 * 3.75
    on_gpus = spent(experiment, trained_s=seconds, elapsed_s=1.0, gpus=GpuMeter(0.25))
    assert (on_gpus.device_hours, on_gpus.device_hours_limit) == (seconds * 0.25 / 3600, 3)
    assert (on_gpus.device, on_gpus.hours_limit, on_gpus.trials_limit) == ("GPU", 2, experiment.search.trials)
    more = spent(experiment, trained_s=seconds, elapsed_s=1.0, gpus=GpuMeter(1.0, since_s=3.75, before_s=100.0))
    assert more.device_hours == (100.0 + 2 * 3.75) / 3600
    on_cpus = spent(experiment, trained_s=seconds, elapsed_s=1.0, gpus=GpuMeter())
    assert (on_cpus.device_hours, on_cpus.device_hours_limit, on_cpus.device) == (seconds / 3600, None, "trial")


def test_a_retryable_failure_is_written_when_the_search_ends(experiment, study, tmp_path):
    desk = watch(experiment, study, tmp_path, Shown())
    for number in (0, 1):
        add_trial(experiment, study)
        desk.started(number)
    study.fail(0, "no photos", infeasible=False)
    desk.ended(0)
    assert not read_events(tmp_path / "trials/0000").ended
    study.fail(1, "diverged", infeasible=True)
    desk.ended(1)
    assert read_events(tmp_path / "trials/0001").ended
    desk.finished()
    assert read_events(tmp_path / "trials/0000").ended, "written once nothing can change it"
