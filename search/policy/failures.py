"""What failures mean for a trial and for the whole search: pure rules over plain values."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from search.policy.records import TrialRecord, TrialState

FIRST_FAILURES = 3
"""Trials that end by one and the same error before anything was trained: the next would too."""
FAILURES_IN_A_ROW = 10
"""Trials that fail for one reason, and nothing that goes well between them."""

NO_CAUSE = "no cause recorded"
"""In place of the cause of a failure that has none."""

_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\S*/\S*|\S*\d\S*")
"""What two errors of one kind differ in: quoted names, paths, numbers and what holds some."""


def may_restart(record: TrialRecord, max_restarts: int) -> bool:
    """After a death of its process or node: whether the trial is handed out once more, or has failed."""
    return record.restarts < max_restarts


@dataclass(frozen=True, slots=True)
class Row:
    """Failures for one reason with nothing between them that went well. Infeasible trials neither count nor break it:
    they are the sampler's to learn from."""

    reason: str = ""
    """As `reason_of` has it."""
    cause: str = ""
    """The latest failure's, in full."""
    count: int = 0


NO_FAILURES = Row()


def reason_of(cause: str) -> str:
    """What failures of one kind have in common: the cause without the names, paths and numbers in it."""
    return _VARYING.sub("…", cause)


def one_more(row: Row, cause: str) -> Row:
    """After a trial has failed; another reason begins a new row."""
    reason = reason_of(cause)
    return Row(reason, cause, row.count + 1 if reason == row.reason else 1)


def why_stop(row: Row, records: Iterable[TrialRecord]) -> str | None:
    """Why the search should not go on, as a clause for its user; None where it should."""
    if row.count >= FAILURES_IN_A_ROW:
        return f"{row.count} trials in a row failed for one reason: {row.cause}"
    if row.count >= FIRST_FAILURES and is_untrained(records):
        return f"the first {row.count} trials failed with the same error: {row.cause}"
    return None


def is_untrained(records: Iterable[TrialRecord]) -> bool:
    """Before the first epoch of any trial: whatever failed so far says nothing of a configuration."""
    return not any(record.reports for record in records)


def may_be_retried(record: TrialRecord) -> bool:
    """Whether a trial's failure is not the last word on it while the search goes on."""
    return record.state is TrialState.FAIL and not record.infeasible


def to_try_again(row: Row, records: Sequence[TrialRecord]) -> tuple[int, ...]:
    """Numbers of the failed trials that a search goes on with after the row that stopped it.

    These are all that failed for the row's reason: what its user has mended was no fault of theirs. Were they to stay
    failed, the search would have spent trials on nothing and, stopped before anything was trained, would never train
    its baseline. What failed for another reason, or was infeasible, stays so: it was not what was mended.
    """
    failed = (record for record in records if may_be_retried(record))
    return tuple(record.number for record in failed if reason_of(record.cause or NO_CAUSE) == row.reason)
