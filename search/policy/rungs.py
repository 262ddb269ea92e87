"""The ladder: rungs are stage ends, by stage number; its rules are pure functions of plain records."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from search.policy.agreement import doubtful_rungs
from search.policy.records import Rank, TrialRecord, TrialState, searched


@dataclass(frozen=True, slots=True)
class Ladder:
    """How trials climb. Raises ValueError where the reduction factor keeps everything."""

    reduction_factor: int
    """Of the n trials that have ended a stage, the best floor(n / reduction_factor) go on."""
    stopping: bool = True
    """False: nobody pauses, every trial goes straight to its last stage."""
    first_rung: int = 0
    """Number of the first stage at whose end trials are compared; whoever has fewer stages pauses nowhere."""
    adaptive: bool = False
    """True: where the order at a rung is not that at the last one, the rung compares nobody; see `agreement`."""
    passed: frozenset[tuple[int, int]] = frozenset()
    """(stage count, stage): trials of so many stages neither pause after that one nor are promoted; see `as_of`."""

    def __post_init__(self) -> None:
        if self.reduction_factor < 2:
            raise ValueError(f"reduction_factor: expected 2 or more, found {self.reduction_factor}")

    def as_of(self, trials: Sequence[TrialRecord]) -> Self:
        """The rungs that are in force, as things stand."""
        return replace(self, passed=doubtful_rungs(trials)) if self.adaptive and self.stopping else self

    def first_stop(self, stage_count: int) -> int:
        """Number of the stage after which a new trial pauses or is complete."""
        return self.next_stop(0, stage_count)

    def passes(self, stage: int, stage_count: int) -> bool:
        """True where a trial of so many stages is not held back after that one."""
        return (stage_count, stage) in self.passed

    def next_stop(self, stage: int, stage_count: int) -> int:
        """Number of the stage after which a trial that goes on with `stage` pauses or is complete."""
        if not self.stopping:
            return stage_count - 1
        rungs = range(max(stage, self.first_rung), stage_count - 1)
        return next((rung for rung in rungs if not self.passes(rung, stage_count)), stage_count - 1)

    def places(self, ended: int) -> int:
        """How many of the trials that have ended a stage may go on. Integers: a float logarithm loses rungs."""
        return ended // self.reduction_factor


def standing(trials: Sequence[TrialRecord], stage: int) -> list[TrialRecord]:
    """All trials that have ended a stage, the best first; ties by smaller log-loss, then by lower number.

    Repeats are none of them. Those that failed later, and those without a finite epoch, come last: they count, but hold
    no place.
    """
    ended = [trial for trial in searched(trials) if trial.has_ended(stage)]
    return sorted(ended, key=lambda trial: (_sortable(_rank(trial, stage)), -trial.number), reverse=True)


def promotable(trials: Sequence[TrialRecord], stage: int, ladder: Ladder) -> TrialRecord | None:
    """The best trial paused at a rung and among those that may go on from it; None where there is none."""
    ranked = standing(trials, stage)
    paused = _paused_at(stage, ranked[: ladder.places(len(ranked))])
    return next((trial for trial in paused if not ladder.passes(stage, trial.stage_count)), None)


def held_back(trials: Sequence[TrialRecord], stage: int, ladder: Ladder) -> TrialRecord | None:
    """The best trial paused at a rung that holds it back no more, whatever its place; None where there is none."""
    paused = _paused_at(stage, standing(trials, stage))
    return next((trial for trial in paused if ladder.passes(stage, trial.stage_count)), None)


def _paused_at(stage: int, ranked: Sequence[TrialRecord]) -> list[TrialRecord]:
    paused = (trial for trial in ranked if trial.state is TrialState.PAUSED and trial.rung == stage)
    return [trial for trial in paused if _rank(trial, stage) is not None]


def ordinary_trials(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Those that had to earn each rung: not the baseline, nor a carried one, nor one with fewer stages than others.

    Repeats are none of them either.
    """
    longest = max((trial.stage_count for trial in trials), default=0)
    return [
        trial
        for trial in searched(trials)
        if not trial.is_baseline and not trial.is_run_to_end and trial.stage_count == longest
    ]


def earned_rung(trial: TrialRecord, ordinary: Sequence[TrialRecord]) -> int | None:
    """The deepest rung that a trial which had to earn none holds against the ordinary ones; None before the first.

    It holds a rung where an ordinary trial is behind it, or where it led the rung before.
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
