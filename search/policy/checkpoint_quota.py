"""Which checkpoints to delete when a study exceeds its quota: the least useful first. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from carcls.training.retention import is_best_weights
from search.policy.records import TrialRecord, TrialState
from search.policy.rungs import Ladder, released, standing

_WORST = (float("-inf"), float("-inf"))


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """One checkpoint on disk."""

    number: int
    """Number of the trial."""
    name: str
    """Path relative to the trial's folder."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Eviction:
    """What to delete to keep a quota."""

    drop: tuple[StoredCheckpoint, ...]
    over_bytes: int
    """Bytes above the quota after that, because the rest must stay; 0 if the quota is kept."""


def evictions(
    trials: Sequence[TrialRecord], stored: Sequence[StoredCheckpoint], ladder: Ladder, *, quota_bytes: int
) -> Eviction:
    """Choose what to delete so that `stored` fits.

    Some checkpoints stay: those of trials that are running, waiting or promotable, those of the best paused trial and
    of the best released one, and the best weights of the best trial. The rest is deleted in this order:

    1. full states of trials that are over, which nothing reads any more, the worst trial first;
    2. the best weights of these trials;
    3. all files of paused trials, the least likely to be promoted first, see `_behind`. Such a trial starts again if
       it is promoted after all, and its worker says so.
    """
    behind = _behind(trials, ladder.as_of(trials))
    by_number = {trial.number: trial for trial in trials}
    kept = to_be_continued(trials, ladder)
    best = max(trials, key=lambda trial: (trial.best_rank or _WORST, -trial.number), default=None)
    best_weights = (best.number, best.reports[-1].best_weights) if best and best.reports else None
    droppable = [one for one in stored if one.number not in kept and (one.number, one.name) != best_weights]
    excess = sum(one.size_bytes for one in stored) - quota_bytes
    drop: list[StoredCheckpoint] = []
    for one in sorted(droppable, key=lambda one: _usefulness(by_number.get(one.number), one, behind)):
        if excess <= 0:
            break
        drop.append(one)
        excess -= one.size_bytes
    return Eviction(tuple(drop), max(0, excess))


def to_be_continued(trials: Sequence[TrialRecord], ladder: Ladder) -> frozenset[int]:
    """Numbers of the trials that will be trained further, as far as is known now."""
    paused = [trial for trial in trials if trial.state is TrialState.PAUSED]
    active = [trial for trial in trials if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
    leader = max(paused, key=lambda trial: (trial.best_rank or _WORST, -trial.number), default=None)
    chosen = [*active, *(trial for trial in paused if trial.is_baseline), *([leader] if leader else [])]
    if not ladder.prunes:
        return frozenset(trial.number for trial in [*chosen, *paused])
    ladder = ladder.as_of(trials)
    for stage in {trial.rung for trial in paused if trial.rung is not None}:
        ranked = standing(trials, stage)
        best = ranked[: ladder.promotion_count(len(ranked))]
        here = [trial for trial in best if trial.state is TrialState.PAUSED and trial.rung == stage]
        chosen += [trial for trial in here if not ladder.skips(stage, trial.stage_count)]
        next_released = released(trials, stage, ladder)
        chosen += [next_released] if next_released else []
    return frozenset(trial.number for trial in chosen)


def _behind(trials: Sequence[TrialRecord], ladder: Ladder) -> Mapping[int, float]:
    """Relative place of each paused trial in its rung, by number: just above 0 for the best, 1 for the last.

    The better half of a rung is promoted before the worse half for any reduction factor. As a share, the place is
    comparable between rungs: of twice as many trials, twice as many are promoted. It is 0 if the ladder skips the rung,
    since the trial then continues once all trials have been proposed.
    """
    places: dict[int, float] = {}
    for stage in {trial.rung for trial in trials if trial.state is TrialState.PAUSED and trial.rung is not None}:
        ranked = standing(trials, stage)
        for place, trial in enumerate(ranked, start=1):
            if trial.rung == stage:
                places[trial.number] = 0.0 if ladder.skips(stage, trial.stage_count) else place / len(ranked)
    return places


def _usefulness(
    trial: TrialRecord | None, one: StoredCheckpoint, behind: Mapping[int, float]
) -> tuple[int, float, tuple[float, float], int, str]:
    """Sort key, the least useful first. A file without a trial comes before all others."""
    if trial is None:
        return (0, 0.0, _WORST, one.number, one.name)
    rank = trial.best_rank or _WORST
    if trial.state is TrialState.PAUSED:
        return (2, -behind.get(trial.number, 1.0), rank, -trial.number, one.name)
    return (1 if is_best_weights(one.name) else 0, 0.0, rank, -trial.number, one.name)
