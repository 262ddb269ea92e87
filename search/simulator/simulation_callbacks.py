"""Callbacks of a simulated search. They let policies of other libraries observe a search and stop its trials."""

from collections.abc import Callable, Sequence
from typing import Protocol

from search.policy.records import TrialRecord

Stops = Callable[[Sequence[TrialRecord], int], bool]
"""(records, number) -> True if the trial should end here, in the middle of its segment.

Called once for each recorded report, before the callback's `reported`. It is also called at a trial's last epoch, where
the answer has no effect."""


class SimulationCallback(Protocol):
    """Receives all events in order, after they were recorded."""

    def started(self, record: TrialRecord) -> None:
        """A segment starts. `attempts` is 1 at a trial's first segment, and its params are those of the blackbox."""
        ...

    def reported(self, record: TrialRecord, *, stopped: bool) -> None:
        """`record.reports[-1]` is new. stopped: the answer of `stops`; if True, the trial ends right after this."""
        ...

    def ended(self, record: TrialRecord) -> None:
        """A segment has ended: PAUSED, COMPLETE, PRUNED (by `stops`), FAIL, or WAITING after its worker died."""
        ...


class NoCallbacks:
    """Stops no trial and ignores all events."""

    def stops(self, records: Sequence[TrialRecord], number: int) -> bool:
        """See `Stops`."""
        del records, number
        return False

    def started(self, record: TrialRecord) -> None:
        """See `SimulationCallback`."""

    def reported(self, record: TrialRecord, *, stopped: bool) -> None:
        """See `SimulationCallback`."""

    def ended(self, record: TrialRecord) -> None:
        """See `SimulationCallback`."""


NO_CALLBACKS = NoCallbacks()
