"""The life of a trial: every change of a `TrialRecord`, as a pure function from one record to the next.

WAITING ─started→ RUNNING ─stage_reached→ PAUSED ─started→ RUNNING ... ─stage_reached→ COMPLETE
                     │ interrupted → WAITING       │ pruned → PRUNED
                     └ failed → FAIL ─retried→ WAITING

Each function raises StudyError if the record's state does not allow the change. `TrialBook` applies them. A real study
also writes each result; a simulated one does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from carcls.events import EpochReport
from search.errors import StudyError
from search.experiment.domains import Value
from search.policy.failures import may_be_retried
from search.policy.records import STOPPED, TrialRecord, TrialState

NEVER_STARTED = "not started before the search was finished"
NO_FINITE_SCORE = "no epoch with a finite validation score"


def new_trial(
    number: int,
    params: Mapping[str, Value],
    *,
    stage_count: int,
    is_baseline: bool = False,
    repeats: int | None = None,
    fold: int | None = None,
    request: str | None = None,
) -> TrialRecord:
    """A new trial, WAITING for its first segment."""
    return TrialRecord(
        number=number,
        params=params,
        state=TrialState.WAITING,
        stage_count=stage_count,
        reports=(),
        attempts=0,
        infeasible=False,
        cause=None,
        is_baseline=is_baseline,
        repeats=repeats,
        fold=fold,
        request=request,
    )


def started(record: TrialRecord, stop_after_stage: int, *, run_to_end_at: int | None = None) -> TrialRecord:
    """WAITING or PAUSED -> RUNNING, until the end of a stage.

    run_to_end_at: number of trials without repeats if this one is run to its end as the best paused one, else None.
    """
    _expect(record, TrialState.WAITING, TrialState.PAUSED)
    return replace(
        record,
        state=TrialState.RUNNING,
        attempts=record.attempts + 1,
        stop_after_stage=stop_after_stage,
        run_to_end_at=record.run_to_end_at if run_to_end_at is None else run_to_end_at,
    )


def placed(record: TrialRecord, node: str) -> TrialRecord:
    """A RUNNING trial whose latest attempt runs on this node of a cluster."""
    _expect(record, TrialState.RUNNING)
    known = (*record.nodes, *[""] * record.attempts)[: record.attempts - 1]
    return replace(record, nodes=(*known, node))


def reported(record: TrialRecord, report: EpochReport) -> TrialRecord:
    """A RUNNING trial with one more epoch. If the epoch is recorded already, its first report stays, and the record is
    returned as it is.

    Raises StudyError if an epoch was left out.
    """
    _expect(record, TrialState.RUNNING)
    if report.epoch <= record.fidelity:
        return record
    if report.epoch != record.fidelity + 1:
        raise StudyError(f"trial {record.number} reported epoch {report.epoch}, expected {record.fidelity + 1}")
    return replace(record, reports=(*record.reports, report))


def fallen_back(record: TrialRecord, epoch: int) -> TrialRecord:
    """A RUNNING trial that lost its checkpoints after `epoch`, or all of them for 0. It trains later epochs again.

    The later reports are dropped: a stage trained again may end earlier or later, and the old scores would not belong
    to the weights on disk. The trial leaves every rung after `epoch`. Earlier decisions stand, since each trial keeps
    the stage to which it was sent. Deaths stay counted, so that a trial that keeps dying or losing its files fails at
    some point.
    """
    _expect(record, TrialState.RUNNING)
    if not 0 <= epoch <= record.fidelity:
        raise StudyError(f"trial {record.number} cannot fall back to epoch {epoch}: it has had {record.fidelity}")
    if epoch == record.fidelity:
        return record
    return replace(record, reports=record.reports[:epoch], fallbacks=(*record.fallbacks, epoch))


def paused(record: TrialRecord) -> TrialRecord:
    """RUNNING -> PAUSED. Raises StudyError in the middle of a stage and after the last one."""
    _expect(record, TrialState.RUNNING)
    if not record.reports or not record.reports[-1].stage_ended or record.next_stage is None:
        raise StudyError(
            f"trial {record.number} cannot pause after epoch {record.fidelity}: no stage ends there, or it is the last"
        )
    return replace(record, state=TrialState.PAUSED)


def completed(record: TrialRecord) -> TrialRecord:
    """RUNNING -> COMPLETE, or infeasible FAIL if no epoch has a finite score. Raises StudyError before the end of the
    last stage."""
    _expect(record, TrialState.RUNNING)
    if record.next_stage is not None:
        raise StudyError(
            f"trial {record.number} is not complete: it has yet to train stage {record.next_stage} of"
            f" {record.stage_count}"
        )
    if record.best is None:
        return failed(record, NO_FINITE_SCORE, infeasible=True)
    return replace(record, state=TrialState.COMPLETE)


def stage_reached(record: TrialRecord) -> TrialRecord:
    """RUNNING -> PAUSED at the end of a stage, or COMPLETE after the last one."""
    return completed(record) if record.next_stage is None else paused(record)


def failed(record: TrialRecord, cause: str, *, infeasible: bool, traceback: str | None = None) -> TrialRecord:
    """WAITING or RUNNING -> FAIL. infeasible: the configuration is at fault, and the sampler learns from it."""
    _expect(record, TrialState.WAITING, TrialState.RUNNING)
    return replace(record, state=TrialState.FAIL, cause=cause, infeasible=infeasible, traceback=traceback)


def retried(record: TrialRecord) -> TrialRecord:
    """FAIL -> WAITING with all restarts available again. Raises StudyError if the trial is infeasible."""
    _expect(record, TrialState.FAIL)
    if not may_be_retried(record):
        raise StudyError(f"trial {record.number} cannot be retried: its configuration is infeasible")
    return replace(record, state=TrialState.WAITING, traceback=None, deaths=())


def interrupted(record: TrialRecord, cause: str, *, died: bool) -> TrialRecord:
    """RUNNING -> WAITING, to be started again. died: True if its process or node died, which counts as a death."""
    _expect(record, TrialState.RUNNING)
    deaths = (*record.deaths, record.fidelity) if died else record.deaths
    return requeued(replace(record, cause=cause, deaths=deaths))


def cut_off(record: TrialRecord, cause: str) -> TrialRecord:
    """A WAITING trial with the cause by which it waits for more hours when the search is finished. cause: OUT_OF_TIME
    or OUT_OF_WHOLE."""
    _expect(record, TrialState.WAITING)
    return replace(record, cause=cause)


def requeued(record: TrialRecord) -> TrialRecord:
    """RUNNING -> WAITING. If the segment had reached its rung and only the message was lost, PAUSED or COMPLETE."""
    _expect(record, TrialState.RUNNING)
    stop = record.stop_after_stage
    if stop is None or not record.has_ended(stop):
        return replace(record, state=TrialState.WAITING)
    return stage_reached(record)


def pruned(record: TrialRecord) -> TrialRecord:
    """WAITING, RUNNING or PAUSED -> PRUNED: ended before its last stage, for good."""
    _expect(record, TrialState.WAITING, TrialState.RUNNING, TrialState.PAUSED)
    return replace(record, state=TrialState.PRUNED)


def stop_asked(record: TrialRecord) -> TrialRecord:
    """The trial after the user asked to stop it: PRUNED, unless it is RUNNING, which ends after its epoch.

    The baseline and repeats cannot be stopped: every search is judged by them.
    """
    if record.is_baseline or record.repeats is not None:
        what = "the baseline, which every search trains to its end" if record.is_baseline else "a repeat of the finals"
        raise StudyError(f"trial {record.number} is {what}: it cannot be stopped")
    _expect_not_over(record)
    asked = replace(record, stop_asked=True, promoted_to=None)
    return asked if record.state is TrialState.RUNNING else stopped(asked)


def stopped(record: TrialRecord) -> TrialRecord:
    """The end of a trial that the user asked to stop."""
    return replace(pruned(record), cause=STOPPED)


def promotion_asked(record: TrialRecord, stage: int) -> TrialRecord:
    """The trial after the user sent it to the end of `stage`, whatever the rungs on its way say."""
    _expect_not_over(record)
    if record.stop_asked:
        raise StudyError(f"trial {record.number} is being stopped: it cannot be promoted")
    if not 0 <= stage < record.stage_count:
        raise StudyError(f"trial {record.number} has no stage {stage}: expected 0 to {record.stage_count - 1}")
    return replace(record, promoted_to=max(stage, record.promoted_to or 0))


def finished(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that change when the search is over: PAUSED and WAITING -> PRUNED, or FAIL without an epoch.

    Trials that are cut off keep waiting for more hours. Raises StudyError while a trial is RUNNING.
    """
    running = [trial.number for trial in trials if trial.state is TrialState.RUNNING]
    if running:
        raise StudyError(f"trials {running} are running: interrupt or end them before the search is finished")
    changed = []
    for trial in trials:
        if trial.state is TrialState.WAITING and not trial.reports:
            changed.append(failed(trial, NEVER_STARTED, infeasible=False))
        elif trial.state in (TrialState.PAUSED, TrialState.WAITING) and not trial.is_cut_off:
            changed.append(pruned(trial))
    return changed


def _expect_not_over(record: TrialRecord) -> None:
    if record.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL):
        raise StudyError(f"trial {record.number} has ended already: it is {record.state.lower()}")


def _expect(record: TrialRecord, *states: TrialState) -> None:
    if record.state not in states:
        raise StudyError(f"trial {record.number} is {record.state}, expected {' or '.join(states)}")
