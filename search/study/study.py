"""The record of truth: one search and the life of its trials. Whatever sampler and scheduler decide, they decide from
this."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from carcls.config import RankBy, TrainConfig
from search.errors import StudyError
from search.experiment.domains import Value
from search.experiment.space import Space
from search.policy import transitions
from search.policy.failures import may_be_retried
from search.policy.records import TrialRecord, TrialState
from search.policy.sampler import distributions
from search.policy.trial_book import TrialBook
from search.study.storage import StudyStorage
from search.study.values import StudyValues


class Study(TrialBook, StudyValues):
    """One search: its trials, their reports, its clock. One writer at a time, not thread-safe; any number of readers.

    Each method that changes something has it on disk when it returns. A finished study may be opened again and given
    more trials; its PRUNED ones stay so, for Optuna reopens none.
    """

    def __init__(self, storage: StudyStorage) -> None:
        StudyValues.__init__(self, storage)
        TrialBook.__init__(self, storage.load())

    @classmethod
    def create(cls, folder: Path, name: str, *, is_recording: bool = False, rank_by: RankBy = "log_loss") -> Self:
        """A new, empty study in an existing folder. Raises StudyError where there is one already."""
        study = cls(StudyStorage.create(folder, name))
        study.set_rank_by(rank_by)
        if is_recording:
            study.set_recording()
        return study

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> Self:
        """An existing study. Raises StudyError where there is none, or where another process writes to it.

        The writer first repairs what a killed one may have left: a torn last line, a lock, a state that did not reach
        Optuna, a search that was being finished. A reader changes nothing, may look on while another process writes,
        and sees what was there at opening.
        """
        study = cls(StudyStorage.open(folder, read_only=read_only))
        if not read_only:
            study._tell_optuna()
            if study.is_finished:
                study.finish()
        return study

    def close(self) -> None:
        """Lets another process write. Nothing is left to flush; calling it twice does no harm."""
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def config(self, number: int) -> TrainConfig:
        """What the trial trains. Raises StudyError where there is none of that number."""
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
    ) -> int:
        """Records a new trial, WAITING, and returns its number, counted from 0.

        With `space`, Optuna's own view has the parameters too, each with its domain; a value outside of its domain
        (the baseline's may be) is in our record alone, for Optuna cannot hold it. `repeats`: the trial that this one
        is to repeat; StudyError where there is none of that number, or it is a repeat itself. `fold`: number of the
        fold that validates, in place of the study's own split.
        """
        self._writable()
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
        )
        domains = distributions(space, params) if space else {}
        self._records.append(self._storage.add(new, config.model_dump(mode="json"), domains))
        return new.number

    def try_again(self, number: int) -> bool:
        """FAIL -> WAITING, to go on from its last epoch with a new trial's number of restarts.

        False where that failure is final: the configuration was at fault, or the study was finished since. Optuna
        knows of the failure then, and reopens no trial.
        """
        record = self._to_change(number)
        if record.state is TrialState.FAIL and (self._is_final(record) or self._storage.is_told(number)):
            return False
        self._change(transitions.retried(record))
        return True

    def finish(self) -> None:
        """See `TrialBook.finish`. Marks the study as finished first, in one write: what a kill leaves undone of the
        rest is done when the study is opened again."""
        self._check_writable()
        ends = transitions.finished(self._records)
        self._set_finished(True)
        for changed in ends:
            self._change(changed)
        self._tell_optuna()

    def _check_writable(self) -> None:
        self._writable()

    def _keep(self, changed: TrialRecord) -> TrialRecord:
        # Optuna last: in the other order, a kill between the two would lose our side.
        kept = self._records[changed.number] = self._storage.set_status(changed)
        self._tell_optuna(changed.number)
        return kept

    def _keep_report(self, changed: TrialRecord) -> TrialRecord:
        return self._storage.add_report(changed.number, changed.reports[-1])

    def _tell_optuna(self, *numbers: int) -> None:
        """Tells Optuna of final ends: of these trials, or of all."""
        for record in [self._records[number] for number in numbers] or self._records:
            if self._is_final(record):
                self._storage.tell_optuna(record)

    def _is_final(self, record: TrialRecord) -> bool:
        return self.is_finished or not may_be_retried(record)
