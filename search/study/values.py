"""What a study knows beside its trials: its name, its clock, what was changed of it, whether it is over."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from carcls.config import RankBy
from search.errors import StudyError
from search.experiment.changes import Change
from search.experiment.domains import Value
from search.policy.budget import GpuMeter
from search.study.storage import StudyStorage

_IS_RECORDING = "is_recording"
_RANK_BY = "rank_by"
_CHANGES = "changes"
_GPU_METER = "gpu_meter"
_GPUS_PER_TRIAL = "gpus_per_trial"
"""All that studies had of it before there was a meter."""
_FINISHED_AFTER = "finished_after"
"""How many changes of its settings a study had had when it was finished: a further one reopens it."""


class StudyValues:
    """The values of one study. Whatever is set is on disk when the call returns; StudyError where it is read-only."""

    def __init__(self, storage: StudyStorage) -> None:
        self._storage = storage

    @property
    def name(self) -> str:
        """The study's name, as the experiment file has it."""
        return self._storage.name

    @property
    def facts(self) -> Mapping[str, str]:
        """What was true at its creation: `version` of carsearch, `created` (UTC, ISO 8601)."""
        return self._storage.facts

    @property
    def is_finished(self) -> bool:
        """True once the search is over: until a setting changes or a trial is added."""
        return self.get_value(_FINISHED_AFTER) == len(self.changes)

    def _set_finished(self, finished: bool) -> None:
        self.set_value(_FINISHED_AFTER, len(self.changes) if finished else None)

    @property
    def changes(self) -> tuple[Change, ...]:
        """What was changed of the experiment's settings since the study was created, in order."""
        return tuple(Change(**change) for change in json.loads(str(self.get_value(_CHANGES) or "[]")))

    def add_changes(self, changes: Sequence[Change]) -> None:
        """Keeps them with the time; the study is no longer finished, nor its budget exhausted."""
        self.set_budget_exhausted(False)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        made = [*self.changes, *(replace(change, time=now) for change in changes)]
        self.set_value(_CHANGES, json.dumps([asdict(change) for change in made]))

    def be_patient(self, minutes: float, raise_if_due: Callable[[], None]) -> None:
        """From now on a change waits so long for a file system that is away, where it would raise OSError.

        raise_if_due: called while it waits; what it raises ends the wait.
        """
        self._storage.patience.minutes, self._storage.patience.raise_if_due = minutes, raise_if_due

    def wait_for(self, write: Callable[[], None], path: Path) -> None:
        """Writes another file of the study, as patiently. Raises OSError."""
        self._storage.patience.wait_for(write, path)

    def get_value(self, key: str) -> Value:
        """A value kept with the study; None where there is none."""
        return self._storage.get_value(key)

    def set_value(self, key: str, value: Value) -> None:
        """Keeps a value with the study, across resumes."""
        self._writable()
        self._storage.set_value(key, value)

    @property
    def is_recording(self) -> bool:
        """True where every trial is trained to its end, for its curve: `carsearch record`."""
        return bool(self.get_value(_IS_RECORDING))

    def set_recording(self) -> None:
        """Every trial of this study is to be trained to its end."""
        self.set_value(_IS_RECORDING, True)

    @property
    def rank_by(self) -> RankBy:
        """What its weights and trials are ranked by; accuracy in studies from before there was a choice."""
        return "log_loss" if self.get_value(_RANK_BY) == "log_loss" else "accuracy"

    def set_rank_by(self, rank_by: RankBy) -> None:
        """Once, before the first trial."""
        self.set_value(_RANK_BY, rank_by)

    @property
    def elapsed_s(self) -> float:
        """Wall-clock seconds of the search so far, over all runs of the driver."""
        return float(self.get_value("elapsed_s") or 0.0)

    def set_elapsed_s(self, elapsed_s: float) -> None:
        """Moves the clock of the search, in seconds."""
        self.set_value("elapsed_s", elapsed_s)

    @property
    def gpu_meter(self) -> GpuMeter:
        """What the trials have had of GPUs, up to the latest run."""
        kept = self.get_value(_GPU_METER)
        return GpuMeter(**json.loads(str(kept))) if kept else GpuMeter(float(self.get_value(_GPUS_PER_TRIAL) or 0.0))

    def set_gpu_meter(self, meter: GpuMeter) -> None:
        """Keeps it, for later runs, status and report."""
        if meter != self.gpu_meter:
            self.set_value(_GPU_METER, json.dumps(asdict(meter)))

    @property
    def budget_exhausted(self) -> bool:
        """True once the search has run out of time, except for what is set aside for its finals."""
        return bool(self.get_value("budget_exhausted"))

    @property
    def finals_exhausted(self) -> bool:
        """True once the finals have run out of time too."""
        return bool(self.get_value("finals_exhausted"))

    def set_budget_exhausted(self, exhausted: bool = True, *, finals: bool = False) -> None:
        """Records that the search, or with `finals` all of it, has run out of time, or that it was given more."""
        # The finals first: cut off between the two, neither way ends with a budget that is given up too early.
        if finals or self.finals_exhausted:
            self.set_value("finals_exhausted", exhausted)
        self.set_value("budget_exhausted", exhausted)

    def _writable(self) -> None:
        if not self._storage.writable:
            raise StudyError(
                f"study {self.name} is open for reading or closed: open it with read_only=False to change it"
            )
