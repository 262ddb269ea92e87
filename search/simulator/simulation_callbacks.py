"""Callbacks of a simulated search. They let policies of other libraries observe a search and stop its trials."""

from collections.abc import Callable, Sequence

from search.policy.records import TrialRecord

Stops = Callable[[Sequence[TrialRecord], int], bool]
"""(records, number) -> True if the trial should end here, in the middle of its segment.

Called once for each recorded report, before the callback's `reported`. It is also called at a trial's last epoch, where
the answer has no effect."""


def stops_none(records: Sequence[TrialRecord], number: int) -> bool:
    """See `Stops`. Lets every trial train on."""
    del records, number
    return False


class SimulationCallback:
    """Receives all events in order, after they were recorded. Ignores them unless a method is overridden."""

    def started(self, record: TrialRecord) -> None:
        """A segment starts. `attempts` is 1 at a trial's first segment, and its params are those of the blackbox."""

    def reported(self, record: TrialRecord, *, stopped: bool) -> None:
        """`record.reports[-1]` is new. stopped: the answer of `stops`; if True, the trial ends right after this."""

    def ended(self, record: TrialRecord) -> None:
        """A segment has ended: PAUSED, COMPLETE, PRUNED (by `stops`), FAIL, or WAITING after its worker died."""
