"""The record of truth: one search and the life of its trials. Whatever sampler and scheduler decide, they decide from
this."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from carcls.config import RankBy, TrainConfig
from carcls.events import EpochReport
from search.errors import StudyError
from search.experiment.domains import Value
from search.experiment.space import Space
from search.policy.failures import may_be_tried_again
from search.policy.records import TrialRecord, TrialState, searched
from search.policy.sampler import distributions
from search.study.storage import StudyStorage
from search.study.values import StudyValues


class Study(StudyValues):
    """One search: its trials, their reports, its clock. One writer at a time, not thread-safe; any number of readers.

    Each method that changes something has it on disk when it returns. A finished study may be opened again and given
    more trials; its PRUNED ones stay so, for Optuna reopens none.
    """

    def __init__(self, storage: StudyStorage) -> None:
        super().__init__(storage)
        self._records = storage.load()

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
                study._end_what_is_left()
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

    def records(self) -> tuple[TrialRecord, ...]:
        """All trials in order of number; equal to what a fresh `open` reads. Costs nothing."""
        return tuple(self._records)

    def record(self, number: int) -> TrialRecord:
        """One trial. Raises StudyError where there is none of that number."""
        if not 0 <= number < len(self._records):
            raise StudyError(f"no trial {number} in study {self.name}: it has {len(self._records)}")
        return self._records[number]

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
        new = TrialRecord(
            number=len(self._records),
            params=params,
            state=TrialState.WAITING,
            stage_count=len(config.stages),
            reports=(),
            attempts=0,
            infeasible=False,
            cause=None,
            is_baseline=is_baseline,
            repeats=repeats,
            fold=fold,
        )
        domains = distributions(space, params) if space else {}
        self._records.append(self._storage.add(new, config.model_dump(mode="json"), domains))
        return new.number

    def start_segment(self, number: int, stop_after_stage: int, *, carried: bool = False) -> int:
        """WAITING or PAUSED -> RUNNING; returns the attempt's number, counted from 0."""
        record = self._expect(number, TrialState.WAITING, TrialState.PAUSED)
        carried_at = len(searched(self._records)) if carried else record.carried_at
        started = replace(record, attempts=record.attempts + 1, stop_after_stage=stop_after_stage)
        self._change(replace(started, state=TrialState.RUNNING, carried_at=carried_at))
        return record.attempts

    def report(self, number: int, report: EpochReport) -> bool:
        """Records one epoch of a RUNNING trial; False where that epoch is recorded already, for then the first stands.

        Raises StudyError where an epoch was left out.
        """
        record = self._expect(number, TrialState.RUNNING)
        if report.epoch <= record.fidelity:
            return False
        if report.epoch != record.fidelity + 1:
            raise StudyError(f"trial {number} reported epoch {report.epoch}, expected {record.fidelity + 1}")
        self._records[number] = self._storage.add_report(number, report)
        return True

    def fall_back(self, number: int, epoch: int) -> None:
        """A RUNNING trial's later checkpoints are lost: it goes on after `epoch`, 0 for anew, and what is recorded of
        the epochs beyond is taken back, to be reported again.

        Whatever it reaches now counts, and nothing else: trained again, a stage may end earlier or later, and neither
        its epochs nor its rung's would be those of the weights that there are. Until it has come as far again it stands
        in no rung that it has not ended since; what was decided while it did stays decided, for each trial keeps where
        it was sent, this one too. Deaths stay counted, so that what dies or is lost for ever comes to an end.
        """
        record = self._expect(number, TrialState.RUNNING)
        if not 0 <= epoch <= record.fidelity:
            raise StudyError(f"trial {number} cannot fall back to epoch {epoch}: it has had {record.fidelity}")
        if epoch < record.fidelity:
            self._change(replace(record, fallbacks=(*record.fallbacks, epoch)))

    def pause(self, number: int) -> None:
        """RUNNING -> PAUSED, at a stage's end. Raises StudyError in the middle of a stage or after the last one."""
        record = self._expect(number, TrialState.RUNNING)
        if not record.reports or not record.reports[-1].stage_ended or record.next_stage is None:
            raise StudyError(
                f"trial {number} cannot pause after epoch {record.fidelity}: no stage ends there, or the last"
            )
        self._change(replace(record, state=TrialState.PAUSED))

    def complete(self, number: int) -> None:
        """RUNNING -> COMPLETE, after the last stage; FAIL and infeasible where no epoch has a finite value.

        Raises StudyError before the end of the last stage.
        """
        record = self._expect(number, TrialState.RUNNING)
        if record.next_stage is not None:
            raise StudyError(
                f"trial {number} is not complete: stage {record.next_stage} of {record.stage_count} is to come"
            )
        if record.best is None:
            self.fail(number, "no epoch with a finite validation score", infeasible=True)
        else:
            self._change(replace(record, state=TrialState.COMPLETE))

    def fail(self, number: int, cause: str, infeasible: bool, *, traceback: str | None = None) -> None:
        """WAITING or RUNNING -> FAIL. `infeasible`: the configuration is at fault, and the sampler is told so."""
        record = self._expect(number, TrialState.WAITING, TrialState.RUNNING)
        failed = replace(record, cause=cause, infeasible=infeasible, traceback=traceback)
        self._change(replace(failed, state=TrialState.FAIL))

    def try_again(self, number: int) -> bool:
        """FAIL -> WAITING, with as many tries as a new trial, to go on from its last epoch.

        False where that failure is final: the configuration was at fault, or the study was finished since, and Optuna,
        which reopens none, knows of it.
        """
        record = self._expect(number, TrialState.FAIL)
        if self._is_final(record) or self._storage.is_told(number):
            return False
        self._change(replace(record, state=TrialState.WAITING, traceback=None, deaths=()))
        return True

    def interrupt(self, number: int, cause: str, *, died: bool = True) -> None:
        """RUNNING -> WAITING, to be started again: its process or node died, or else nobody is to blame."""
        record = self._expect(number, TrialState.RUNNING)
        deaths = (*record.deaths, record.fidelity) if died else record.deaths
        self._requeue(replace(record, cause=cause, deaths=deaths))

    def interrupt_running(self) -> tuple[int, ...]:
        """Once no worker is left: what was RUNNING becomes WAITING, to be resumed; returns the numbers."""
        running = [record for record in self._records if record.state is TrialState.RUNNING]
        for record in running:
            self._requeue(record)
        return tuple(record.number for record in running if self.record(record.number).state is TrialState.WAITING)

    def finish(self) -> None:
        """The search is over: PAUSED -> PRUNED. What waits to be resumed is PRUNED too, or FAIL without any epoch; but
        what was cut off when the hours were used up waits on, for a larger budget.

        Raises StudyError while a trial is RUNNING.
        """
        running = [record.number for record in self._records if record.state is TrialState.RUNNING]
        if running:
            raise StudyError(
                f"study {self.name} cannot finish: trials {running} are running; interrupt or end them first"
            )
        # First, and in one write: whatever a kill leaves undone of the rest is done when the study is opened again.
        self._set_finished(True)
        self._end_what_is_left()

    def _end_what_is_left(self) -> None:
        for record in self.records():
            if record.state is TrialState.WAITING and not record.reports:
                self.fail(record.number, "not started before the search was finished", infeasible=False)
            elif record.state in (TrialState.PAUSED, TrialState.WAITING) and not record.is_cut_off:
                self._change(replace(record, state=TrialState.PRUNED))
        self._tell_optuna()

    def _expect(self, number: int, *states: TrialState) -> TrialRecord:
        self._writable()
        record = self.record(number)
        if record.state not in states:
            raise StudyError(f"trial {number} is {record.state}, expected {' or '.join(states)}")
        return record

    def _requeue(self, record: TrialRecord) -> None:
        """To be started again; but PAUSED or COMPLETE where only the news of its segment's end was lost."""
        stop = record.stop_after_stage
        if stop is None or not record.has_ended(stop):
            self._change(replace(record, state=TrialState.WAITING))
        elif record.next_stage is None:
            self.complete(record.number)
        else:
            self.pause(record.number)

    def _change(self, changed: TrialRecord) -> None:
        # Optuna last: in the other order, a kill between the two would lose our side.
        self._records[changed.number] = self._storage.set_status(changed)
        self._tell_optuna(changed.number)

    def _tell_optuna(self, *numbers: int) -> None:
        """Of the ends of these trials, or of all, that are final."""
        for record in [self._records[number] for number in numbers] or self._records:
            if self._is_final(record):
                self._storage.tell_optuna(record)

    def _is_final(self, record: TrialRecord) -> bool:
        return self.is_finished or not may_be_tried_again(record)
