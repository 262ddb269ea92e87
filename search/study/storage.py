"""One study in Optuna's storage: where each thing is kept, and what Optuna itself is told of it.

Knows nothing of which change is allowed: that is the study's business.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, create_trial

from carcls.events import EpochReport
from search.errors import StudyError
from search.experiment.domains import Value
from search.policy.records import TrialRecord, TrialState, report_attribute
from search.study.folder import StudyFolder
from search.study.journal import WriterLock, create_journal, cut_torn_line, free_stale_lock, open_journal
from search.study.journal_file import Patience

INFEASIBLE = "infeasible"
"""Name of the Optuna constraint that a trial breaks which cannot be trained."""

_VALUE = "value:"
_FACTS = ("version", "created")
_FINISHED = {
    TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
    TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
    TrialState.FAIL: optuna.trial.TrialState.FAIL,
}


class StudyStorage:
    """The one study of a journal file. Whatever is set is on disk when the call returns. Not thread-safe.

    In Optuna's own eyes a trial is RUNNING until it is over: COMPLETE with its best validation accuracy, FAIL, or
    PRUNED: paused when the search was finished, or infeasible, then with the constraint `infeasible` broken, so that
    any Optuna sampler avoids its like. When it is told of an end, the study decides.
    """

    def __init__(
        self, storage: BaseStorage, study: optuna.Study, lock: WriterLock | None, patience: Patience | None = None
    ) -> None:
        self.patience = patience or Patience()
        """With a file system that is away."""
        self._storage = storage
        self._study = study
        self._lock = lock
        self._ids: list[int] = []

    @classmethod
    def create(cls, folder: Path, name: str) -> Self:
        """A new, empty study in an existing folder, open for writing. Raises StudyError where there is one already."""
        log = _log(folder)
        if log.exists():
            raise StudyError(f"{log} exists already: open it, or choose another name for the study")
        lock, patience = WriterLock.acquire(folder), Patience()
        try:
            storage = create_journal(log, patience)
            study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", sampler=optuna.samplers.RandomSampler()
            )
            study.set_user_attr("version", version("carsearch"))
            study.set_user_attr("created", datetime.now(UTC).isoformat(timespec="seconds"))
        except BaseException:
            lock.release()
            raise
        return cls(storage, study, lock, patience)

    @classmethod
    def open(cls, folder: Path, *, read_only: bool) -> Self:
        """An existing study. Raises StudyError where there is none, where it is damaged, or another process writes.

        The writer first repairs what a killed one may have left: a torn last line, a lock.
        """
        log = _log(folder)
        if not log.is_file():
            raise StudyError(f"no study in {folder}: expected {log.name} there, as 'carsearch run' makes it")
        lock = None if read_only else WriterLock.acquire(folder)
        try:
            if lock:
                free_stale_lock(log)
                cut_torn_line(log)
            patience = Patience()
            return cls(*_load(log, patience), lock, patience)
        except BaseException:
            if lock:
                lock.release()
            raise

    @property
    def writable(self) -> bool:
        """False where it was opened for reading, and once it is closed."""
        return self._lock is not None

    def close(self) -> None:
        """Lets another process write. Nothing is left to flush; calling it twice does no harm."""
        if self._lock:
            self._lock.release()
            self._lock = None

    @property
    def name(self) -> str:
        """The study's name."""
        return self._study.study_name

    @property
    def facts(self) -> Mapping[str, str]:
        """What was true at its creation: `version` of carsearch, `created` (UTC, ISO 8601)."""
        attributes = self._study.user_attrs
        return {key: attributes[key] for key in _FACTS if key in attributes}

    def get_value(self, key: str) -> Value:
        """A value kept with the study; None where there is none."""
        value: Value = self._study.user_attrs.get(f"{_VALUE}{key}")
        return value

    def set_value(self, key: str, value: Value) -> None:
        """Keeps a value with the study."""
        self._study.set_user_attr(f"{_VALUE}{key}", value)

    def load(self) -> list[TrialRecord]:
        """All trials in order of number. To be called before anything else that takes a trial's number."""
        trials = self._storage.get_all_trials(self._study._study_id, deepcopy=False)
        self._ids = [trial._trial_id for trial in trials]
        try:
            return [_record(trial) for trial in trials]
        except (ValueError, LookupError, TypeError, AttributeError) as error:  # no checksum guards an older journal
            raise StudyError(
                f"study {self.name}: a trial cannot be read ({type(error).__name__}: {error}): put back a copy of"
                " study.log, or start a new study"
            ) from error

    def config(self, number: int) -> dict[str, Any]:
        """What the trial trains, as JSON."""
        config: dict[str, Any] = self._trial(number).user_attrs["config"]
        return config

    def add(self, new: TrialRecord, config: Mapping[str, Any], domains: Mapping[str, BaseDistribution]) -> TrialRecord:
        """A new trial, stored whole or not at all. Optuna's own view has the parameters that have a domain."""
        template = create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params={name: new.params[name] for name in domains},
            distributions=dict(domains),
            user_attrs={
                "params": dict(new.params),
                "config": dict(config),
                "stage_count": new.stage_count,
                "is_baseline": new.is_baseline,
                "repeats": new.repeats,
                "fold": new.fold,
                "status": new.status(),
            },
        )
        self._ids.append(self._storage.create_new_trial(self._study._study_id, template_trial=template))
        return self.record(new.number)

    def record(self, number: int) -> TrialRecord:
        """The trial as it is stored now."""
        return _record(self._trial(number))

    def add_report(self, number: int, report: EpochReport) -> TrialRecord:
        """One more epoch."""
        name = report_attribute(report.epoch, len(self.record(number).fallbacks))  # nothing is written over
        # The report comes last: it is what counts, and a value without one is overwritten when the epoch is repeated.
        self._storage.set_trial_intermediate_value(self._ids[number], report.epoch, report.val_accuracy)
        self._storage.set_trial_user_attr(self._ids[number], name, report.to_json())
        return self.record(number)

    def set_status(self, changed: TrialRecord) -> TrialRecord:
        """What changes besides the reports. Where the trial is over for us, `tell_optuna` is to follow."""
        self._storage.set_trial_user_attr(self._ids[changed.number], "status", changed.status())
        return self.record(changed.number)

    def is_told(self, number: int) -> bool:
        """True once the trial has ended in Optuna's eyes, for which there is no way back."""
        return self._trial(number).state.is_finished()

    def tell_optuna(self, record: TrialRecord) -> None:
        """Ends the trial in Optuna's eyes if it is over in ours; nothing where Optuna knows."""
        known = self._trial(record.number)
        if record.state not in _FINISHED or known.state.is_finished():
            return
        trial_id, state = self._ids[record.number], _FINISHED[record.state]
        if record.infeasible:
            if INFEASIBLE not in known.constraints:  # told by a driver that was killed before the next line
                optuna.Trial(self._study, trial_id).set_constraint(INFEASIBLE, 1.0)
            state = optuna.trial.TrialState.PRUNED  # Optuna's samplers leave FAIL out, and would propose its like again
        values = [record.best.val_accuracy] if record.best and state is not optuna.trial.TrialState.FAIL else None
        self._storage.set_trial_state_values(trial_id, state, values)

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._ids[number])


def _load(log: Path, patience: Patience) -> tuple[BaseStorage, optuna.Study]:
    storage = open_journal(log, patience)
    names = optuna.get_all_study_names(storage)
    if not names:
        raise StudyError(f"{log} holds no study: its creation was cut off; delete the folder and start again")
    return storage, optuna.load_study(study_name=names[0], storage=storage, sampler=optuna.samplers.RandomSampler())


def _log(folder: Path) -> Path:
    return StudyFolder(folder.resolve()).log


def _record(trial: FrozenTrial) -> TrialRecord:
    return TrialRecord.from_attributes(trial.number, trial.user_attrs)
