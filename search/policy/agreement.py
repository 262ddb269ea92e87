"""Which rungs can be believed: those at which the order of the trials is the order at the last rung. Pure.

Curves of staged fine-tuning cross: after the head stage a trial may lead for its head's learning rate alone, and layers
that are unfrozen cost accuracy before they gain some. Whether early order means anything depends on the photos and on
the space, and shows in the trials themselves. Bohdal et al. 2023 ('PASHA: Efficient HPO and NAS with Progressive
Resource Allocation') ask the same question of neighbouring rungs, to decide how far to train at all.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from functools import lru_cache

from search.policy.records import Rank, TrialRecord, TrialState, searched

ENOUGH_TRIALS = 6
"""Trials that have to have ended the last rung before an earlier one can be believed."""

_AGREEING_PAIRS = (3, 4)
"""Three of four pairs in the same order: Kendall's tau of 0.5."""


def doubtful_rungs(trials: Sequence[TrialRecord]) -> frozenset[tuple[int, int]]:
    """(stage count, stage): trials of so many stages should not be held back at the end of that one, as things stand.

    The end of a trial's last stage but one is always believed: whoever is compared nowhere saves nothing. Evidence are
    the trials of as many or more stages that have ended it and have not failed, the baseline and carried ones among
    them.
    """
    return frozenset(
        (stage_count, stage)
        for stage_count in {trial.stage_count for trial in trials}
        for stage in _doubtful_stages(trials, stage_count)
    )


def _doubtful_stages(trials: Sequence[TrialRecord], stage_count: int) -> list[int]:
    last = stage_count - 2
    witnesses = [
        trial
        for trial in searched(trials)
        if trial.stage_count >= stage_count and trial.state is not TrialState.FAIL and trial.has_ended(last)
    ]
    return [stage for stage in range(last) if not _is_believed(_order(witnesses, stage, last))]


def agreeing_pairs(order: Sequence[tuple[Rank, Rank]]) -> int:
    """Of all pairs among (earlier, later) ranks, how many are strictly in the same order both times."""
    seen: list[Rank] = []
    agreeing = 0
    # Of those with equal later ranks, the better earlier ones first: they agree with none of each other.
    for earlier, _ in sorted(order, key=lambda ranks: (ranks[1], tuple(-part for part in ranks[0]))):
        agreeing += bisect_left(seen, earlier)
        insort(seen, earlier)
    return agreeing


def _order(witnesses: Sequence[TrialRecord], stage: int, last: int) -> tuple[tuple[Rank, Rank], ...]:
    ranks = ((trial.rung_rank(stage), trial.rung_rank(last)) for trial in witnesses)
    return tuple((earlier, later) for earlier, later in ranks if earlier is not None and later is not None)


@lru_cache(maxsize=64)  # the scheduler asks at each decision, and few decisions bring new evidence
def _is_believed(order: tuple[tuple[Rank, Rank], ...]) -> bool:
    pairs = len(order) * (len(order) - 1) // 2
    agreeing, of = _AGREEING_PAIRS
    return len(order) >= ENOUGH_TRIALS and of * agreeing_pairs(order) >= agreeing * pairs
