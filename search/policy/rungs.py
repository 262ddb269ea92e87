"""The ladder of a search. A rung is the end of a stage, named by the stage's number. Pure functions of records."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from search.policy.agreement import unreliable_rungs
from search.policy.records import Rank, TrialRecord, TrialState, searched


@dataclass(frozen=True, slots=True)
class Ladder:
    """How trials are promoted. Raises ValueError for a reduction factor below 2, which would promote every trial."""

    reduction_factor: int
    """Of the n trials that have ended a stage, the best floor(n / reduction_factor) are promoted."""
    prunes: bool = True
    """If False, no trial pauses: each one trains straight to its last stage."""
    first_rung: int = 0
    """Number of the first stage at whose end trials are compared. Trials with fewer stages never pause."""
    adaptive: bool = False
    """If True, trials are not compared at rungs that rank them differently from the last rung; see `agreement`."""
    skipped: frozenset[tuple[int, int]] = frozenset()
    """Unreliable rungs as (stage count, stage): trials with that many stages do not pause there; see `as_of`."""

    def __post_init__(self) -> None:
        if self.reduction_factor < 2:
            raise ValueError(f"reduction_factor: expected 2 or more, found {self.reduction_factor}")

    def as_of(self, trials: Sequence[TrialRecord]) -> Self:
        """The ladder for these trials. An adaptive one skips the rungs that they show to be unreliable."""
        return replace(self, skipped=unreliable_rungs(trials)) if self.adaptive and self.prunes else self

    def first_stop(self, stage_count: int) -> int:
        """Number of the stage after which a new trial pauses or is complete."""
        return self.next_stop(0, stage_count)

    def skips(self, stage: int, stage_count: int) -> bool:
        """True if trials with that many stages do not pause after this one."""
        return (stage_count, stage) in self.skipped

    def next_stop(self, stage: int, stage_count: int) -> int:
        """Number of the stage after which a trial that continues with `stage` pauses or is complete."""
        if not self.prunes:
            return stage_count - 1
        rungs = range(max(stage, self.first_rung), stage_count - 1)
        return next((rung for rung in rungs if not self.skips(rung, stage_count)), stage_count - 1)

    def promotion_count(self, ended: int) -> int:
        """Number of promotions among the trials that have ended a stage. Integer arithmetic: a float logarithm may lose
        a rung to rounding."""
        return ended // self.reduction_factor


def standing(trials: Sequence[TrialRecord], stage: int) -> list[TrialRecord]:
    """All trials that have ended a stage, the best first; ties go to the smaller log-loss, then to the lower number.

    Repeats are left out. Trials that failed later and those without a finite epoch come last: they count towards the
    size of the rung, but are never promoted.
    """
    ended = [trial for trial in searched(trials) if trial.has_ended(stage)]
    return sorted(ended, key=lambda trial: (_sortable(_rank(trial, stage)), -trial.number), reverse=True)


def promotable(trials: Sequence[TrialRecord], stage: int, ladder: Ladder) -> TrialRecord | None:
    """The best paused trial that may be promoted from a rung, or None."""
    ranked = standing(trials, stage)
    paused = _paused_at(stage, ranked[: ladder.promotion_count(len(ranked))])
    return next((trial for trial in paused if not ladder.skips(stage, trial.stage_count)), None)


def released(trials: Sequence[TrialRecord], stage: int, ladder: Ladder) -> TrialRecord | None:
    """The best trial paused at a rung that the ladder now skips, or None. It may continue at any place in its rung."""
    paused = _paused_at(stage, standing(trials, stage))
    return next((trial for trial in paused if ladder.skips(stage, trial.stage_count)), None)


def _paused_at(stage: int, ranked: Sequence[TrialRecord]) -> list[TrialRecord]:
    paused = (trial for trial in ranked if trial.state is TrialState.PAUSED and trial.rung == stage)
    return [trial for trial in paused if _rank(trial, stage) is not None]


def ordinary_trials(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that earned each of their rungs.

    These are all but the baseline, recipes of the portfolio, a trial that was run to its end, trials with fewer stages
    than others, and repeats.
    """
    longest = max((trial.stage_count for trial in trials if not trial.is_of_portfolio), default=0)
    return [
        trial
        for trial in searched(trials)
        if not trial.is_of_portfolio
        and not trial.is_baseline
        and not trial.is_run_to_end
        and trial.stage_count == longest
    ]


def earned_rung(trial: TrialRecord, ordinary: Sequence[TrialRecord]) -> int | None:
    """The deepest rung that a privileged trial would have earned against the ordinary ones; None before the first.

    A trial has earned a rung if an ordinary trial is behind it there, or if it led the rung before.
    """
    if trial.rung is None:
        return None
    for stage in range(trial.rung, 0, -1):
        before = [_sortable(_rank(other, stage - 1)) for other in ordinary if other.has_ended(stage - 1)]
        here = [_sortable(_rank(other, stage)) for other in ordinary if other.has_ended(stage)]
        leads_before = all(rank < _sortable(_rank(trial, stage - 1)) for rank in before)
        if leads_before or any(rank < _sortable(_rank(trial, stage)) for rank in here):
            return stage
    return 0


def _rank(trial: TrialRecord, stage: int) -> Rank | None:
    return None if trial.state is TrialState.FAIL else trial.rung_rank(stage)


def _sortable(rank: Rank | None) -> Rank:
    return (float("-inf"), float("-inf")) if rank is None else rank
