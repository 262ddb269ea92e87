"""What failures mean for a trial and for the whole search. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from search.policy.records import TrialRecord, TrialState

FIRST_FAILURES = 3
"""The search stops after this many failures with the same error before the first epoch of any trial."""
FAILURES_IN_A_ROW = 10
"""The search stops after this many failures for the same reason without a success between them."""

NO_CAUSE = "no cause recorded"
"""Stands in for the cause of a failure without one."""

_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\S*/\S*|\S*\d\S*")
"""The parts in which two errors of one kind differ: quoted names, paths, and words with digits."""


def may_restart(record: TrialRecord, max_restarts: int) -> bool:
    """True if a trial may run again after its process or node died; otherwise it has failed."""
    return record.restarts < max_restarts


@dataclass(frozen=True, slots=True)
class Streak:
    """Consecutive failures for one reason. Infeasible trials neither extend nor break a streak: the sampler learns from
    them."""

    reason: str = ""
    """The result of `reason_of`."""
    cause: str = ""
    """The full cause of the latest failure."""
    count: int = 0


NO_FAILURES = Streak()


def reason_of(cause: str) -> str:
    """The cause without names, paths and numbers: equal for failures of one kind."""
    return _VARYING.sub("…", cause)


def extended(streak: Streak, cause: str) -> Streak:
    """The streak after one more failed trial. A different reason begins a new streak."""
    reason = reason_of(cause)
    return Streak(reason, cause, streak.count + 1 if reason == streak.reason else 1)


def why_stop(streak: Streak, records: Iterable[TrialRecord]) -> str | None:
    """Why the search should stop, as a clause for its user, or None."""
    if streak.count >= FAILURES_IN_A_ROW:
        return f"{streak.count} trials in a row failed for one reason: {streak.cause}"
    if streak.count >= FIRST_FAILURES and is_untrained(records):
        return f"the first {streak.count} trials failed with the same error: {streak.cause}"
    return None


def is_untrained(records: Iterable[TrialRecord]) -> bool:
    """True before the first epoch of any trial, when failures say nothing about a configuration."""
    return not any(record.reports for record in records)


def may_be_retried(record: TrialRecord) -> bool:
    """True if a failed trial may still be retried while the search is not finished."""
    return record.state is TrialState.FAIL and not record.infeasible


def to_retry(streak: Streak, records: Sequence[TrialRecord]) -> tuple[int, ...]:
    """Numbers of the failed trials to retry after this streak stopped the search.

    These are all trials that failed for the streak's reason, since the user fixes that reason before resuming. If they
    stayed failed, the search would lose these trials and might never train its baseline. Trials that failed for other
    reasons or are infeasible stay failed.
    """
    failed = (record for record in records if may_be_retried(record))
    return tuple(record.number for record in failed if reason_of(record.cause or NO_CAUSE) == streak.reason)
