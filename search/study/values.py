"""The values of a study beside its trials: name, clock, changed settings, whether it is finished."""

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
from search.study.record.storage import StudyStorage

_IS_RECORDING = "is_recording"
_RANK_BY = "rank_by"
_CHANGES = "changes"
_GPU_METER = "gpu_meter"
_GPUS_PER_TRIAL = "gpus_per_trial"
"""Stored by older studies instead of the meter."""
_FINISHED_AFTER = "finished_after"
"""Number of changed settings when the study was finished. A further change reopens it."""
_ELAPSED_S = "elapsed_s"
_BUDGET_EXHAUSTED = "budget_exhausted"
_FINALS_EXHAUSTED = "finals_exhausted"
_EXHAUSTED_BY = "exhausted_by_hours"


class StudyValues:
    """The values of one study. Every change is on disk when its method returns. Raises StudyError if read-only."""

    def __init__(self, storage: StudyStorage) -> None:
        self._storage = storage

    @property
    def name(self) -> str:
        """The study's name in the experiment file."""
        return self._storage.name

    @property
    def facts(self) -> Mapping[str, str]:
        """Facts at its creation: `version` of carsearch, `created` (UTC, ISO 8601)."""
        return self._storage.facts

    @property
    def is_finished(self) -> bool:
        """True once the search is over, until a setting changes or a trial is added."""
        return self.get_value(_FINISHED_AFTER) == len(self.changes)

    def _set_finished(self, finished: bool) -> None:
        self.set_value(_FINISHED_AFTER, len(self.changes) if finished else None)

    def reopen(self) -> None:
        """The search is not over after all."""
        self._set_finished(False)

    @property
    def changes(self) -> tuple[Change, ...]:
        """Changes of the experiment's settings since the study was created, in order."""
        return tuple(Change(**change) for change in json.loads(str(self.get_value(_CHANGES) or "[]")))

    def add_changes(self, changes: Sequence[Change]) -> None:
        """Record changes with the current time. This reopens a finished study and an exhausted budget."""
        self.set_budget_exhausted(False)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        made = [*self.changes, *(replace(change, time=now) for change in changes)]
        self.set_value(_CHANGES, json.dumps([asdict(change) for change in made]))

    def retry_files(self, minutes: float, raise_if_due: Callable[[], None]) -> None:
        """From now on, changes wait up to `minutes` for an unavailable file system before they raise OSError.

        raise_if_due: called while waiting; an error that it raises ends the wait.
        """
        self._storage.retry.minutes, self._storage.retry.raise_if_due = minutes, raise_if_due

    def write_with_retry(self, write: Callable[[], None], path: Path) -> None:
        """Write another file of the study at `path`, waiting as `retry_files` says. Raises OSError."""
        self._storage.retry.call(write, path)

    def bring_trial(self, number: int) -> None:
        """Bring the files that a worker has stored in the study's bucket to this machine, waiting as `retry_files`
        says. Raises OSError."""
        self._storage.bring_trial(number)

    def get_value(self, key: str) -> Value:
        """A value stored in the study, or None."""
        return self._storage.get_value(key)

    def set_value(self, key: str, value: Value) -> None:
        """Store a value in the study, across resumes."""
        self._check_writable()
        self._storage.set_value(key, value)

    @property
    def is_recording(self) -> bool:
        """True for a study of `carsearch record`, which trains every trial to its end for its curve."""
        return bool(self.get_value(_IS_RECORDING))

    def set_recording(self) -> None:
        """Mark the study as a recording."""
        self.set_value(_IS_RECORDING, True)

    @property
    def rank_by(self) -> RankBy:
        """What weights and trials are ranked by; accuracy in older studies, which had no choice."""
        return "log_loss" if self.get_value(_RANK_BY) == "log_loss" else "accuracy"

    def set_rank_by(self, rank_by: RankBy) -> None:
        """Set the ranking. Call this once, before the first trial."""
        self.set_value(_RANK_BY, rank_by)

    @property
    def elapsed_s(self) -> float:
        """Wall-clock seconds of the search so far, over all runs of the driver."""
        return float(self.get_value(_ELAPSED_S) or 0.0)

    def set_elapsed_s(self, elapsed_s: float) -> None:
        """Set the clock of the search, in seconds."""
        self.set_value(_ELAPSED_S, elapsed_s)

    @property
    def gpu_meter(self) -> GpuMeter:
        """GPU time used by the trials, up to the latest run."""
        kept = self.get_value(_GPU_METER)
        return GpuMeter(**json.loads(str(kept))) if kept else GpuMeter(float(self.get_value(_GPUS_PER_TRIAL) or 0.0))

    def set_gpu_meter(self, meter: GpuMeter) -> None:
        """Store the meter for later runs, `status` and `report`."""
        if meter != self.gpu_meter:
            self.set_value(_GPU_METER, json.dumps(asdict(meter)))

    @property
    def budget_exhausted(self) -> bool:
        """True once the search has used up its budget, except for the part reserved for its finals."""
        return bool(self.get_value(_BUDGET_EXHAUSTED))

    @property
    def finals_exhausted(self) -> bool:
        """True once the finals have used up their part too."""
        return bool(self.get_value(_FINALS_EXHAUSTED))

    @property
    def exhausted_by(self) -> float | None:
        """The hours of the whole run whose part for the search was used up first; 0 if `search.budget` was. None in
        older studies, and before."""
        kept = self.get_value(_EXHAUSTED_BY)
        return None if kept is None else float(kept)

    def set_budget_exhausted(self, exhausted: bool = True, *, finals: bool = False, by: float | None = None) -> None:
        """Record whether the budget is exhausted: that of the search, and with `finals` that of the finals too.

        by: see `exhausted_by`. Only what exhausts the search's budget first is kept.
        """
        if not (exhausted and self.budget_exhausted) and by != self.exhausted_by:
            self.set_value(_EXHAUSTED_BY, by)
        # The finals come first: with a kill in between, no budget counts as exhausted too early.
        if finals or self.finals_exhausted:
            self.set_value(_FINALS_EXHAUSTED, exhausted)
        self.set_value(_BUDGET_EXHAUSTED, exhausted)

    def _check_writable(self) -> None:
        if not self._storage.writable:
            raise StudyError(f"study {self.name} is read-only or closed: open it with read_only=False to change it")
