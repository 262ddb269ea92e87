"""Stores one study in Optuna's storage, and reports the results of its trials to Optuna.

It does not check which changes are allowed; the study does.
"""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, create_trial

from carcls.events import EpochReport
from search.errors import StudyError
from search.experiment.domains import Value
from search.policy.records import TrialRecord, TrialState, report_attribute
from search.study.bucket.places import begun_copy
from search.study.folder import StudyFolder
from search.study.record.journal import WriterLock, create_journal, cut_torn_line, free_stale_lock, open_journal
from search.study.record.journal_file import FileRetry
from search.study.record.record_pointer import RecordPointer, pointer_of

if TYPE_CHECKING:
    from search.study.bucket.writer_copy import WriterCopy

INFEASIBLE = "infeasible"
"""Name of the Optuna constraint that infeasible trials violate."""

_VALUE = "value:"
_FACTS = ("version", "created")
_FINISHED = {
    TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
    TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
    TrialState.FAIL: optuna.trial.TrialState.FAIL,
}


class StudyStorage:
    """The one study of a journal, a file or in a database. Every change is on disk when the call returns. Not
    thread-safe.

    For Optuna, a trial is RUNNING until it is over. Then it is COMPLETE with its best validation accuracy, FAIL, or
    PRUNED. PRUNED trials were paused when the search finished, or are infeasible; the latter violate the constraint
    `infeasible`, so that any Optuna sampler avoids similar ones. The study decides when to tell Optuna of an end.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study: optuna.Study,
        locks: ExitStack | None,
        retry: FileRetry | None = None,
        copy: "WriterCopy | None" = None,
    ) -> None:
        """locks: those of the writer, or None for a reader. copy: of a study in a bucket."""
        self.retry = retry or FileRetry()
        """Retries while the file system or the database is unavailable."""
        self._storage = storage
        self._study = study
        self._locks = locks
        self._copy = copy
        self._ids: list[int] = []

    @classmethod
    def create(cls, folder: Path, name: str, database: str | None = None) -> Self:
        """A new, empty study in an existing folder, open for writing. database: its address, if the record is there.

        Raises StudyError if there is a study already.
        """
        log = _log(folder)
        if log.exists():
            raise StudyError(f"{log} exists already: open it, or choose another name for the study")
        with ExitStack() as locks:
            locks.callback(WriterLock.acquire(folder).release)
            retry, copy = FileRetry(), begun_copy(folder, locks)
            if database is None:
                storage = create_journal(log, retry, copy.send if copy else None)
            else:
                storage = _databases().create_record(log, database, name, retry, locks)
            study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", sampler=optuna.samplers.RandomSampler()
            )
            study.set_user_attr("version", version("carsearch"))
            study.set_user_attr("created", datetime.now(UTC).isoformat(timespec="seconds"))
            return cls(storage, study, locks.pop_all(), retry, copy)

    @classmethod
    def open(cls, folder: Path, *, read_only: bool) -> Self:
        """An existing study. Raises StudyError if there is none, if it is damaged, or if another process writes to it.

        A writer first repairs what a killed writer may have left: a torn last line, a lock.
        """
        log = _log(folder)
        if not log.is_file():
            raise StudyError(f"no study in {folder}: expected {log.name} there, as 'carsearch run' creates it")
        with ExitStack() as locks:
            if not read_only:
                locks.callback(WriterLock.acquire(folder).release)
            retry, copy = FileRetry(), None if read_only else begun_copy(folder, locks)
            pointer = pointer_of(log)
            if pointer is None:
                storage = _journal(log, retry, copy, read_only=read_only)
            else:
                storage = _databases().open_record(pointer, log, retry, locks, read_only=read_only)
            study = _only_study(storage, log, pointer)
            return cls(storage, study, None if read_only else locks.pop_all(), retry, copy)

    @property
    def writable(self) -> bool:
        """False if it was opened read-only or is closed."""
        return self._locks is not None

    def close(self) -> None:
        """Release the writer's locks. All changes are on disk already. May be called twice."""
        if self._locks:
            self._locks.close()
            self._locks = None

    @property
    def name(self) -> str:
        """The study's name."""
        return self._study.study_name

    @property
    def facts(self) -> Mapping[str, str]:
        """Facts at its creation: `version` of carsearch, `created` (UTC, ISO 8601)."""
        attributes = self._study.user_attrs
        return {key: attributes[key] for key in _FACTS if key in attributes}

    def get_value(self, key: str) -> Value:
        """A value stored in the study, or None."""
        value: Value = self._study.user_attrs.get(f"{_VALUE}{key}")
        return value

    def set_value(self, key: str, value: Value) -> None:
        """Store a value in the study."""
        self._study.set_user_attr(f"{_VALUE}{key}", value)

    def load(self) -> list[TrialRecord]:
        """All trials in order of number. Call this before any method that takes a trial's number."""
        trials = self._storage.get_all_trials(self._study._study_id, deepcopy=False)
        self._ids = [trial._trial_id for trial in trials]
        try:
            return [_record(trial) for trial in trials]
        except (ValueError, LookupError, TypeError, AttributeError) as error:  # older journals have no checksums
            raise StudyError(
                f"study {self.name}: a trial cannot be read ({type(error).__name__}: {error}): put back a copy of"
                " study.log, or start a new study"
            ) from error

    def config(self, number: int) -> dict[str, Any]:
        """The trial's TrainConfig, as JSON."""
        config: dict[str, Any] = self._trial(number).user_attrs["config"]
        return config

    def add(self, new: TrialRecord, config: Mapping[str, Any], domains: Mapping[str, BaseDistribution]) -> TrialRecord:
        """Add a new trial atomically. Optuna itself gets only the parameters in `domains`."""
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
                **({"request": new.request} if new.request else {}),
                "status": new.status(),
            },
        )
        self._ids.append(self._storage.create_new_trial(self._study._study_id, template_trial=template))
        return self.record(new.number)

    def record(self, number: int) -> TrialRecord:
        """The stored trial."""
        return _record(self._trial(number))

    def add_report(self, number: int, report: EpochReport) -> TrialRecord:
        """Add one epoch."""
        self._push_trial(number)
        name = report_attribute(report.epoch, len(self.record(number).fallbacks))  # never overwrites a report
        # The report comes last, since it is what counts. A value without one is overwritten when the epoch is repeated.
        self._storage.set_trial_intermediate_value(self._ids[number], report.epoch, report.val_accuracy)
        self._storage.set_trial_user_attr(self._ids[number], name, report.to_json())
        return self.record(number)

    def set_status(self, changed: TrialRecord) -> TrialRecord:
        """Store all that changes besides the reports. Call `tell_optuna` afterwards if the trial is over."""
        self._push_trial(changed.number)
        self._storage.set_trial_user_attr(self._ids[changed.number], "status", changed.status())
        return self.record(changed.number)

    def is_told(self, number: int) -> bool:
        """True once Optuna knows of the trial's end, which cannot be undone."""
        return self._trial(number).state.is_finished()

    def tell_optuna(self, record: TrialRecord) -> None:
        """Tell Optuna of the trial's end if it is over. Does nothing if Optuna knows already."""
        if record.state not in _FINISHED:
            return
        known = self._trial(record.number)
        if known.state.is_finished():
            return
        trial_id, state = self._ids[record.number], _FINISHED[record.state]
        if record.infeasible:
            if INFEASIBLE not in known.constraints:  # A driver may have been killed right after setting it.
                optuna.Trial(self._study, trial_id).set_constraint(INFEASIBLE, 1.0)
            state = optuna.trial.TrialState.PRUNED  # Optuna's samplers ignore FAIL, and would propose similar trials.
        values = [record.best.val_accuracy] if record.best and state is not optuna.trial.TrialState.FAIL else None
        if values and not math.isfinite(values[0]):  # a training without validation photos
            values = [0.0]
        self._storage.set_trial_state_values(trial_id, state, values)

    def bring_trial(self, number: int) -> None:
        """Bring down from the bucket what a worker has stored of a trial. Raises OSError."""
        if self._copy is not None:
            copy = self._copy
            self.retry.call(lambda: copy.bring_trial(number), copy.url)

    def _push_trial(self, number: int) -> None:
        """A trial's files are in the bucket before the record says so."""
        if self._copy is not None:
            copy = self._copy
            self.retry.call(lambda: copy.push_trial(number), copy.url)

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._ids[number])


def _databases() -> ModuleType:
    """The module of records in databases, which needs an extra. Raises StudyError without it."""
    try:
        from search.study.record import database_record  # noqa: PLC0415 - only where a record is in a database
    except ImportError as error:
        raise StudyError(
            f"the study's record is in PostgreSQL, for which psycopg is missing ({error}): install carsearch[postgres]"
        ) from error
    return database_record


def _journal(log: Path, retry: FileRetry, copy: "WriterCopy | None", *, read_only: bool) -> BaseStorage:
    if not read_only:
        free_stale_lock(log)
        cut_torn_line(log)
    if copy is not None:
        copy.begin_journal(log)
    return open_journal(log, retry, copy.send if copy else None)


def _only_study(storage: BaseStorage, log: Path, pointer: RecordPointer | None) -> optuna.Study:
    names = optuna.get_all_study_names(storage)
    if not names:
        where = log if pointer is None else f"study {pointer.study} in {pointer.storage}"
        raise StudyError(f"{where} holds no study: its creation was interrupted; delete the folder and start again")
    return optuna.load_study(study_name=names[0], storage=storage, sampler=optuna.samplers.RandomSampler())


def _log(folder: Path) -> Path:
    return StudyFolder(folder.resolve()).log


def _record(trial: FrozenTrial) -> TrialRecord:
    return TrialRecord.from_attributes(trial.number, trial.user_attrs)
