"""Which checkpoints of a study go when all of them together take more than they may: the least useful first. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from carcls.training.retention import is_best_weights
from search.policy.records import TrialRecord, TrialState
from search.policy.rungs import Ladder, held_back, standing

_WORST = (float("-inf"), float("-inf"))


@dataclass(frozen=True, slots=True)
class Stored:
    """One checkpoint on disk."""

    number: int
    """The trial's."""
    name: str
    """Relative to the trial's folder."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Cut:
    """What a quota asks for."""

    drop: tuple[Stored, ...]
    over_bytes: int
    """What is still too much then, because the rest has to stay; 0 where the quota is kept."""


def over_quota(trials: Sequence[TrialRecord], stored: Sequence[Stored], ladder: Ladder, *, quota_bytes: int) -> Cut:
    """What has to go so that `stored` fits.

    The checkpoints of trials that run, wait, are promotable, or are the best of those paused or let pass stay, and so
    do the best weights of the best trial. The others go in this order: full states of trials that are over, which
    nothing reads any more, the worst trial's first; their best weights; last of all whole paused trials, the least
    likely to be promoted first, see `_behind`. One that is promoted after all starts again, and its worker says so.
    """
    behind = _behind(trials, ladder.as_of(trials))
    by_number = {trial.number: trial for trial in trials}
    kept = going_on(trials, ladder)
    best = max(trials, key=lambda trial: (trial.best_rank or _WORST, -trial.number), default=None)
    best_weights = (best.number, best.reports[-1].best_weights) if best and best.reports else None
    droppable = [one for one in stored if one.number not in kept and (one.number, one.name) != best_weights]
    excess = sum(one.size_bytes for one in stored) - quota_bytes
    drop: list[Stored] = []
    for one in sorted(droppable, key=lambda one: _usefulness(by_number.get(one.number), one, behind)):
        if excess <= 0:
            break
        drop.append(one)
        excess -= one.size_bytes
    return Cut(tuple(drop), max(0, excess))


def going_on(trials: Sequence[TrialRecord], ladder: Ladder) -> frozenset[int]:
    """Numbers of the trials that, as things stand, will be trained further."""
    paused = [trial for trial in trials if trial.state is TrialState.PAUSED]
    active = [trial for trial in trials if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
    carried = max(paused, key=lambda trial: (trial.best_rank or _WORST, -trial.number), default=None)
    chosen = [*active, *(trial for trial in paused if trial.is_baseline), *([carried] if carried else [])]
    if not ladder.stopping:
        return frozenset(trial.number for trial in [*chosen, *paused])
    ladder = ladder.as_of(trials)
    for stage in {trial.rung for trial in paused if trial.rung is not None}:
        ranked = standing(trials, stage)
        best = [trial for trial in ranked[: ladder.places(len(ranked))] if trial in paused and trial.rung == stage]
        chosen += [trial for trial in best if not ladder.passes(stage, trial.stage_count)]
        let_pass = held_back(trials, stage, ladder)
        chosen += [let_pass] if let_pass else []
    return frozenset(trial.number for trial in chosen)


def _behind(trials: Sequence[TrialRecord], ladder: Ladder) -> Mapping[int, float]:
    """How far behind each paused trial stands in its rung, by number: above 0 for the best, 1 for the last.

    The better half of a rung is promoted before the worse one, whatever the reduction factor, and as a share it is
    comparable between rungs: of twice as many trials, twice as many go on. 0 where the rung holds it back no more: it
    goes on when all trials have been proposed.
    """
    places: dict[int, float] = {}
    for stage in {trial.rung for trial in trials if trial.state is TrialState.PAUSED and trial.rung is not None}:
        ranked = standing(trials, stage)
        for place, trial in enumerate(ranked, start=1):
            if trial.rung == stage:
                is_held = not ladder.passes(stage, trial.stage_count)
                places[trial.number] = place / len(ranked) if is_held else 0.0
    return places


def _usefulness(
    trial: TrialRecord | None, one: Stored, behind: Mapping[int, float]
) -> tuple[int, float, tuple[float, float], int, str]:
    """Sorts from what can be missed most easily; a file of no trial is the first to go."""
    if trial is None:
        return (0, 0.0, _WORST, one.number, one.name)
    rank = trial.best_rank or _WORST
    if trial.state is TrialState.PAUSED:
        return (2, -behind.get(trial.number, 1.0), rank, -trial.number, one.name)
    return (1 if is_best_weights(one.name) else 0, 0.0, rank, -trial.number, one.name)
