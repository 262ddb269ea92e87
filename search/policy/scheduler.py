"""Decides the next job: asynchronous successive halving by promotion, rebuilt from the records at each call.

Li et al. 2020, 'A System for Massively Parallel Hyperparameter Tuning', algorithm 2, get_job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from search.experiment.search_settings import FinalistSettings
from search.policy.durations import expected_seconds, remaining_s, stage_seconds
from search.policy.finals import NO_FINALS, due_repeats
from search.policy.records import TrialRecord, TrialState, searched, trained_s
from search.policy.rungs import Ladder, promotable, released

__all__ = ["BudgetState", "Continue", "Finished", "Job", "Ladder", "NewTrial", "Repeat", "Wait", "late", "next_job"]


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What is left to spend."""

    trials_left: int
    exhausted: bool
    """True once the search's hours are used up: no new trials, no promotions."""
    finals_exhausted: bool = False
    """True once the hours reserved for the finals are used up too: no repeats."""
    left_s: float | None = None
    """Seconds that the search has left of a whole run's hours, without the finals' part; None without such a limit.
    Trainings that cannot end in this time are not started."""
    finals_left_s: float | None = None
    """The same with the finals' part."""
    stage_weights: tuple[float, ...] = ()
    """Relative seconds of the stages of a training, see `durations.stage_weights`; empty if they are not known."""


@dataclass(frozen=True, slots=True)
class NewTrial:
    """Start a new trial. The first one is the default recipe; the sampler proposes the others."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Start or continue a trial, from its last checkpoint to the end of a stage."""

    number: int
    stop_after_stage: int
    run_to_end: bool = False
    """True if the trial is run to its end as the best one left paused. The study records it, since it happens once."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Train a finalist's configuration again, as a new trial that trains straight to its last stage."""

    number: int
    """Number of the finalist."""
    repetition: int
    """Counted from 1; added to the configuration's seed."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Start nothing now. Running trials may change that."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The search is over: no trial is running, and none will start."""


Job = NewTrial | Continue | Repeat | Wait | Finished


def next_job(
    trials: Sequence[TrialRecord], ladder: Ladder, budget: BudgetState, finalists: FinalistSettings = NO_FINALS
) -> Job:
    """Decide from the records alone. The caller records the start before the next call.

    The order is: interrupted trials, promotions that the user asked for, the baseline to its end, promotions from the
    top rung down, new trials. If none of these can start and no trial is running, the best trial that is paused or was
    cut off is run to its end, once. The finals come last. After them, a search that is given more trials continues. The
    number of jobs is finite.

    An exhausted budget ends promotions and new trials, but never the baseline, so that a search is never worse than no
    search. Trials that it cut off in the middle of a stage wait for a larger budget.

    With `left_s`, a new trial must have time for all its stages, and a paused one for the rest of them, by the time
    that others took, and for stages that none has ended by `stage_weights`. Once new trials have not, paused ones go on
    instead, of those that can end the ones with the fewest stages left first: many workers with little time would
    otherwise begin much and end nothing. If none is expected to end, the shortest goes on, so that no worker is idle
    because of an expectation. Once that time is over and a trial is complete, interrupted ones are not resumed either,
    see `late`.

    An adaptive ladder promotes no trial from an unreliable rung. Once all trials have been proposed, trials paused at
    an unreliable rung continue, best first, since nothing shows that they are worse than others.
    """
    ladder = ladder.as_of(trials)
    return (
        _resume(trials, ladder, budget)
        or _asked(trials, budget)
        or _search(searched(trials), ladder, budget)
        or _repeat(trials, finalists, budget)
        or (Wait() if _any_running(trials) else Finished())
    )


def late(trials: Sequence[TrialRecord], budget: BudgetState) -> list[TrialRecord]:
    """Trials that were interrupted for another reason, and do not resume because a whole run's hours are over."""
    if not _has_winner(trials):
        return []
    interrupted = (trial for trial in trials if trial.state is TrialState.WAITING and not trial.is_cut_off)
    return [trial for trial in interrupted if trial.reports and _is_late(trial, budget)]


def _resume(trials: Sequence[TrialRecord], ladder: Ladder, budget: BudgetState) -> Job | None:
    interrupted = (trial for trial in trials if trial.state is TrialState.WAITING)
    is_late = _is_late if _has_winner(trials) else _stays_cut_off
    waiting = next((trial for trial in interrupted if not is_late(trial, budget)), None)
    if waiting is None:
        return None
    if waiting.stop_after_stage is not None:
        return Continue(waiting.number, waiting.stop_after_stage)
    first_stop = ladder.first_stop(waiting.stage_count) if waiting.repeats is None else waiting.stage_count - 1
    return Continue(waiting.number, first_stop)


def _asked(trials: Sequence[TrialRecord], budget: BudgetState) -> Job | None:
    if budget.exhausted:
        return None
    for trial in trials:
        stage, asked = trial.next_stage, trial.promoted_to
        if trial.state is TrialState.PAUSED and stage is not None and asked is not None and stage <= asked:
            return Continue(trial.number, asked)
    return None


def _stays_cut_off(trial: TrialRecord, budget: BudgetState) -> bool:
    return trial.is_cut_off and (budget.exhausted if trial.repeats is None else budget.finals_exhausted)


def _is_late(trial: TrialRecord, budget: BudgetState) -> bool:
    """Whether an interrupted trial stays so, with a winner there: also for a whole run's hours, which would cut it off
    after an epoch."""
    left_s = budget.left_s if trial.repeats is None else budget.finals_left_s
    is_over = left_s is not None and left_s <= 0.0 and not trial.is_baseline and not trial.is_run_to_end
    return is_over or _stays_cut_off(trial, budget)


def _search(trials: Sequence[TrialRecord], ladder: Ladder, budget: BudgetState) -> Job | None:
    job = _baseline(trials, ladder)
    measured = {} if budget.left_s is None else stage_seconds(trials)
    expected = expected_seconds(measured, budget.stage_weights)
    fitting, promising = _fitting(trials, budget, measured), _fitting(trials, budget, expected)
    if job is None and not budget.exhausted:
        job = _promote(promising, ladder)
    is_time = budget.trials_left > 0 and (not budget.exhausted or not trials)
    if job is None and is_time and _new_fits(trials, budget, expected):
        job = NewTrial()
    if job is None and not budget.exhausted:
        job = _release(promising, ladder)
    if job is None and not budget.exhausted and budget.left_s is not None and budget.trials_left > 0:
        job = _nearest_to_end(fitting, expected, budget.left_s, ladder)
    if job is None and _any_running(trials):
        job = Wait()
    return job or _run_best_to_end(fitting if _has_winner(trials) else trials)


def _fitting(trials: Sequence[TrialRecord], budget: BudgetState, seconds: Mapping[int, float]) -> Sequence[TrialRecord]:
    """The trials as the scheduler may promote them: those paused without the time to end are not. Rungs count them.

    seconds: of each stage, measured or expected.
    """
    if budget.left_s is None:
        return trials
    left_s = budget.left_s
    return [
        replace(trial, state=TrialState.PRUNED)
        if (trial.state is TrialState.PAUSED or trial.is_cut_off)
        and remaining_s(seconds, trial, stage_count=trial.stage_count) > left_s
        else trial
        for trial in trials
    ]


def _new_fits(trials: Sequence[TrialRecord], budget: BudgetState, expected: Mapping[int, float]) -> bool:
    if budget.left_s is None or not trials:
        return True
    longest = max(trial.stage_count for trial in trials)
    return remaining_s(expected, None, stage_count=longest) <= budget.left_s


def _nearest_to_end(
    trials: Sequence[TrialRecord], expected: Mapping[int, float], left_s: float, ladder: Ladder
) -> Job | None:
    """The best of the paused trials with the fewest stages left among those expected to end; without any, the one that
    needs the least time, since what is expected of stages that no trial has ended may be wrong."""
    paused = [trial for trial in trials if trial.state is TrialState.PAUSED and trial.best_rank and trial.next_stage]
    needs = {one.number: remaining_s(expected, one, stage_count=one.stage_count) for one in paused}
    ending = [trial for trial in paused if needs[trial.number] <= left_s]
    if ending:
        return _go_on(max(ending, key=lambda trial: (trial.rung, trial.best_rank, -trial.number)), ladder)
    return _go_on(min(paused, key=lambda trial: (needs[trial.number], trial.number), default=None), ladder)


def _has_winner(trials: Sequence[TrialRecord]) -> bool:
    return any(trial.state is TrialState.COMPLETE for trial in trials)


def _any_running(trials: Sequence[TrialRecord]) -> bool:
    return any(trial.state is TrialState.RUNNING for trial in trials)


def _baseline(trials: Sequence[TrialRecord], ladder: Ladder) -> Job | None:
    paused = next((trial for trial in trials if trial.is_baseline and trial.state is TrialState.PAUSED), None)
    return _go_on(paused, ladder)


def _promote(trials: Sequence[TrialRecord], ladder: Ladder) -> Job | None:
    if not ladder.prunes:
        return _go_on(next((trial for trial in trials if trial.state is TrialState.PAUSED), None), ladder)
    top = max((trial.stage_count for trial in trials), default=0)
    candidates = (promotable(trials, stage, ladder) for stage in range(top - 1, -1, -1))
    return _go_on(next((trial for trial in candidates if trial), None), ladder)


def _release(trials: Sequence[TrialRecord], ladder: Ladder) -> Job | None:
    rungs = sorted({stage for _, stage in ladder.skipped}, reverse=True)
    candidates = (released(trials, stage, ladder) for stage in rungs)
    return _go_on(next((trial for trial in candidates if trial), None), ladder)


def _run_best_to_end(trials: Sequence[TrialRecord]) -> Job | None:
    """Once per number of trials: a search that is given more trials may run another one to its end.

    If that trial failed and its configuration is not at fault, the next best takes its place.
    """
    if any(trial.run_to_end_at == len(trials) and not _lost(trial) for trial in trials):
        return None
    left = [trial for trial in trials if trial.state is TrialState.PAUSED or trial.is_cut_off]
    ranked = [trial for trial in left if trial.best_rank is not None]
    best = max(ranked, key=lambda trial: (trial.best_rank, -trial.number), default=None)
    return None if best is None else Continue(best.number, best.stage_count - 1, run_to_end=True)


def _lost(trial: TrialRecord) -> bool:
    return trial.state is TrialState.FAIL and not trial.infeasible


def _repeat(trials: Sequence[TrialRecord], finalists: FinalistSettings, budget: BudgetState) -> Job | None:
    if budget.finals_exhausted:
        return None
    due = due_repeats(trials, finalists)
    if budget.finals_left_s is not None:
        due = [one for one in due if trained_s(one.trial.reports) <= budget.finals_left_s]
    return Repeat(due[0].trial.number, due[0].repetition) if due else None


def _go_on(paused: TrialRecord | None, ladder: Ladder) -> Job | None:
    if paused is None or paused.next_stage is None:
        return None
    return Continue(paused.number, ladder.next_stop(paused.next_stage, paused.stage_count))
