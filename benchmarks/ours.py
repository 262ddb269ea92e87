"""A fixed list of trainings through the machinery of a search: study, dispatcher, Ray Tune, fork server, children.

Only the decisions are replaced: the list stands where sampler and scheduler would decide.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.events import EVENTS, EventLog
from carcls.config import TrainConfig
from carcls.events import EpochReport
from search.driver.create import create_study
from search.driver.guard import guarded
from search.driver.interrupts import Interrupts
from search.driver.study_dispatch import StudyDispatcher
from search.experiment.experiment import load
from search.on_ray import actor as trial
from search.on_ray.cluster.ray_place import plan, worker_settings
from search.on_ray.cluster.warmup import distinct_weights, start_check
from search.on_ray.connection import connected
from search.on_ray.ray_executor import RayExecutor
from search.policy.policy import search_policy
from search.policy.records import TrialRecord, TrialState
from search.policy.scheduler import NewTrial
from search.study.folder import StudyFolder
from search.study.study import Study
from search.worker import entry as trial_entry
from search.worker.segment import Outcome, Segment

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """One training of the list."""

    config: TrainConfig
    stop_after_stage: int

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.config.stages[: self.stop_after_stage + 1])


@dataclass(frozen=True, slots=True)
class ListRun:
    """What came of a list."""

    seconds: float
    """Wall-clock from the data folder to the last report; Ray's start and end included."""
    events: EventLog
    records: tuple[TrialRecord, ...]

    def last_reports(self) -> tuple[EpochReport, ...]:
        return tuple(record.reports[-1] for record in self.records)


class ListDispatcher(StudyDispatcher):
    """Hands out the entries in order, each to its end."""

    def __init__(self, *args: Any, entries: Sequence[Entry], events: EventLog, **kwargs: Any) -> None:  # noqa: ANN401 - the dispatcher's own
        super().__init__(*args, **kwargs)
        self._left = list(entries)
        self._events = events

    def next_segment(self) -> Segment | Literal["wait", "finished"]:
        if self._left:
            entry = self._left.pop(0)
            number = len(self._study.records())
            self._events.note(number, "decided")
            self._study.add_trial({}, entry.config)
            return self._hand_out(NewTrial(), number, entry.stop_after_stage)
        if any(record.state is TrialState.RUNNING for record in self._study.records()):
            return "wait"
        self.finished = True
        return "finished"

    def segment_ended(self, number: int, outcome: Outcome) -> None:
        super().segment_ended(number, outcome)
        self._events.note(number, "ended")
        if outcome.kind != "ended":
            raise RuntimeError(f"entry {number} of the list {outcome.kind}: {outcome.cause}")


def write_experiment(
    folder: Path, *, data_root: Path, config: TrainConfig, fraction: float, store: Path, concurrent: int
) -> Path:
    """An experiment file whose photos, split, store and resources count; the list brings the configurations."""
    tree = {
        "name": "list",
        "data": {"root": str(data_root.resolve()), "validation": {"fraction": fraction, "seed": 0}},
        "train": config.model_dump(mode="json", exclude_none=True),
        "search": {
            "seed": 0,
            "max_concurrent": concurrent,
            "resources": {"cpus_per_trial": 1, "gpus_per_trial": 0},
        },
        "results": str(folder / "results"),
        "store": {"root": str(store)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "list.yaml"
    path.write_text(json.dumps(tree, indent=1), encoding="utf-8")  # JSON is YAML
    return path


def timed_segment(config: dict[str, Any]) -> None:
    """The trainable of a search; its children have a clock in them."""
    trial_entry.PRELOAD[0] = "benchmarks.timed_child"
    trial.run_segment(config)


def train_list(experiment_file: Path, entries: Sequence[Entry], overrides: Sequence[str] = ()) -> ListRun:
    """Trains every entry, as many at once as the experiment's resources allow. Raises RuntimeError where one fails."""
    importable_by_workers()
    started = time.monotonic()
    experiment = load(experiment_file, overrides)
    folder = create_study(experiment)
    events = EventLog(folder.root / EVENTS)
    with Study.open(folder.root) as study, guarded():
        weights = distinct_weights(entry.config for entry in entries)
        with start_check(weights, here=True) as check_start, connected(None) as nodes:
            resources = plan(experiment, nodes)
            check_start(nodes)
            worker = worker_settings(experiment, resources)
            policy = search_policy(experiment)
            dispatcher = ListDispatcher(
                experiment, study, folder, policy=policy, worker=worker, entries=entries, events=events
            )
            executor = RayExecutor(
                folder,
                resources,
                deadline=experiment.search.deadline,
                interrupts=Interrupts(),
                how="",
                trainable=timed_segment,
            )
            executor.run(dispatcher)
        records = study.records()
    seconds = time.monotonic() - started
    _note_validation(folder, events, records)
    return ListRun(seconds, events, records)


def _note_validation(folder: StudyFolder, events: EventLog, records: Sequence[TrialRecord]) -> None:
    """Our validation is no call of fit: its seconds are those of the reports."""
    for record in records:
        if not record.reports:
            raise RuntimeError(f"entry {record.number} has no report; see {folder.trial(record.number)}")
        events.note(record.number, "validated", validate_s=sum(report.seconds.validate for report in record.reports))


def importable_by_workers() -> None:
    """Ray's workers and the fork server import `benchmarks`, which is not installed."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(ROOT) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, paths)])
