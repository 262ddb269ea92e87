"""Which rungs are reliable: those that rank trials as the last rung does. Pure.

Curves of staged fine-tuning cross. After the head stage a trial may lead only because of its head's learning rate, and
unfreezing layers lowers accuracy before it raises it. Whether an early ranking means anything depends on the photos and
the search space, so it is measured on the trials themselves. Bohdal et al. 2023 ('PASHA: Efficient HPO and NAS with
Progressive Resource Allocation') compare neighbouring rungs in the same way to decide how far to train at all.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from functools import lru_cache

from search.policy.records import Rank, TrialRecord, TrialState, searched

ENOUGH_TRIALS = 6
"""Trials that must have ended the last rung before an earlier one can be reliable."""

_AGREEING_PAIRS = (3, 4)
"""Three of four pairs in the same order: Kendall's tau of 0.5."""


def unreliable_rungs(trials: Sequence[TrialRecord]) -> frozenset[tuple[int, int]]:
    """Pairs (stage count, stage): trials with that many stages should not be paused at the end of that stage.

    The end of a trial's second-to-last stage is always reliable, since a trial that is never compared saves nothing.
    The evidence is every trial with at least as many stages that has ended that stage and has not failed. It includes
    the baseline and the trial that was run to its end.
    """
    return frozenset(
        (stage_count, stage)
        for stage_count in {trial.stage_count for trial in trials}
        for stage in _unreliable_stages(trials, stage_count)
    )


def _unreliable_stages(trials: Sequence[TrialRecord], stage_count: int) -> list[int]:
    last = stage_count - 2
    witnesses = [
        trial
        for trial in searched(trials)
        if trial.stage_count >= stage_count and trial.state is not TrialState.FAIL and trial.has_ended(last)
    ]
    return [stage for stage in range(last) if not _is_reliable(_order(witnesses, stage, last))]


def agreeing_pairs(order: Sequence[tuple[Rank, Rank]]) -> int:
    """Count pairs of trials that are strictly in the same order at both rungs.

    order: (earlier rank, later rank) of each trial.
    """
    seen: list[Rank] = []
    agreeing = 0
    # Among equal later ranks, the better earlier rank comes first, so that these trials do not agree with each other.
    for earlier, _ in sorted(order, key=lambda ranks: (ranks[1], tuple(-part for part in ranks[0]))):
        agreeing += bisect_left(seen, earlier)
        insort(seen, earlier)
    return agreeing


def _order(witnesses: Sequence[TrialRecord], stage: int, last: int) -> tuple[tuple[Rank, Rank], ...]:
    ranks = ((trial.rung_rank(stage), trial.rung_rank(last)) for trial in witnesses)
    return tuple((earlier, later) for earlier, later in ranks if earlier is not None and later is not None)


@lru_cache(maxsize=64)  # The scheduler asks at each decision, but few decisions bring new evidence.
def _is_reliable(order: tuple[tuple[Rank, Rank], ...]) -> bool:
    pairs = len(order) * (len(order) - 1) // 2
    agreeing, of = _AGREEING_PAIRS
    return len(order) >= ENOUGH_TRIALS and of * agreeing_pairs(order) >= agreeing * pairs
