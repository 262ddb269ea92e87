"""The source of truth of a search: its trials and all that sampler and scheduler decide from."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from carcls.config import RankBy, TrainConfig
from search.errors import StudyError
from search.experiment.domains import Value
from search.experiment.space import Space
from search.policy import transitions
from search.policy.failures import may_be_retried
from search.policy.optuna_view import distributions
from search.policy.records import TrialRecord, TrialState
from search.policy.trial_book import TrialBook
from search.study.record.storage import StudyStorage
from search.study.values import StudyValues


class Study(StudyValues, TrialBook):
    """One search: its trials, their reports, its clock. One writer at a time, any number of readers. Not thread-safe.

    Every change is on disk when its method returns. A finished study may be opened again and given more trials. Its
    PRUNED trials stay PRUNED, since Optuna cannot reopen them.
    """

    def __init__(self, storage: StudyStorage) -> None:
        StudyValues.__init__(self, storage)
        TrialBook.__init__(self, storage.load())

    @classmethod
    def create(
        cls,
        folder: Path,
        name: str,
        *,
        is_recording: bool = False,
        rank_by: RankBy = "log_loss",
        database: str | None = None,
    ) -> Self:
        """A new, empty study in an existing folder. Raises StudyError if there is one already.

        database: address of the PostgreSQL database for its record; None: a file in the folder.
        """
        study = cls(StudyStorage.create(folder, name, database))
        study.set_rank_by(rank_by)
        if is_recording:
            study.set_recording()
        return study

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> Self:
        """An existing study. Raises StudyError if there is none, or if another process writes to it.

        A writer first repairs what a killed writer may have left: a torn last line, a lock, a state that did not reach
        Optuna, a search that was being finished. A reader changes nothing. It may open the study while another process
        writes, and sees the state at opening.
        """
        with _without_garbage_collection():
            study = cls(StudyStorage.open(folder, read_only=read_only))
        if not read_only:
            study._tell_optuna()
            if study.is_finished:
                study.finish()
        return study

    def close(self) -> None:
        """Release the writer lock. All changes are on disk already. May be called twice."""
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def config(self, number: int) -> TrainConfig:
        """The trial's training configuration. Raises StudyError if there is no such trial."""
        self.record(number)
        return TrainConfig.model_validate(self._storage.config(number))

    def add_trial(
        self,
        params: Mapping[str, Value],
        config: TrainConfig,
        *,
        space: Space | None = None,
        is_baseline: bool = False,
        repeats: int | None = None,
        fold: int | None = None,
        request: str | None = None,
    ) -> int:
        """Record a new trial, WAITING. Returns its number, counted from 0.

        space: if given, Optuna gets the parameters too, each with its domain. A value outside of its domain, as the
        baseline may have, is only in our record, since Optuna cannot store it. repeats: number of the trial that this
        one repeats. fold: number of the fold that validates instead of the study's own split. request: id of the
        user's request for it. Raises StudyError if `repeats` is no trial or is a repeat itself.
        """
        self._check_writable()
        if self.is_finished:
            self._set_finished(False)
        if repeats is not None and self.record(repeats).repeats is not None:
            raise StudyError(f"trial {repeats} is a repeat itself: repeat trial {self.record(repeats).repeats} again")
        new = transitions.new_trial(
            len(self._records),
            params,
            stage_count=len(config.stages),
            is_baseline=is_baseline,
            repeats=repeats,
            fold=fold,
            request=request,
        )
        domains = distributions(space, params) if space else {}
        self._put(self._storage.add(new, config.model_dump(mode="json"), domains))
        return new.number

    def retry(self, number: int) -> bool:
        """FAIL -> WAITING, to continue from its last epoch with all restarts available again.

        Returns False if the failure is final: the trial is infeasible, or the study was finished since. Optuna then
        knows of the failure, and cannot reopen the trial.
        """
        record = self._to_change(number)
        if record.state is TrialState.FAIL and (self._is_final(record) or self._storage.is_told(number)):
            return False
        self._change(transitions.retried(record))
        return True

    def finish(self) -> None:
        """See `TrialBook.finish`. One write marks the study as finished first. If a kill interrupts the rest, the next
        writer completes it."""
        self._check_writable()
        ends = transitions.finished(self._records)
        self._set_finished(True)
        for changed in ends:
            self._change(changed)
        self._tell_optuna()

    def _keep(self, changed: TrialRecord) -> TrialRecord:
        # Optuna comes last: in the other order, a kill in between would lose our status.
        kept = self._storage.set_status(changed)
        self._put(kept)
        self._tell_optuna(changed.number)
        return kept

    def _keep_report(self, changed: TrialRecord) -> TrialRecord:
        return self._storage.add_report(changed.number, changed.reports[-1])

    def _tell_optuna(self, *numbers: int) -> None:
        """Tell Optuna of the final ends of these trials, or of all."""
        finished = self.is_finished  # looks at the journal's file
        for record in [self._records[number] for number in numbers] or self._records:
            if finished or not may_be_retried(record):
                self._storage.tell_optuna(record)

    def _is_final(self, record: TrialRecord) -> bool:
        return self.is_finished or not may_be_retried(record)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Suspends the search for reference cycles, which doubles the time to load 10,000 trials. They have none.

    What was loaded then counts as old, so that the next search does not look at all of it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()
