"""Who may look on at a simulated search, and who may end a trial of it: for peers that remember what they saw."""

from collections.abc import Callable, Sequence
from typing import Protocol

from search.policy.records import TrialRecord

Stops = Callable[[Sequence[TrialRecord], int], bool]
"""(records, number) -> True: the trial ends here, in the middle of its segment. Asked once after each report is
recorded, before the listener hears of it; at a trial's last epoch too, where the answer changes nothing."""


class SimulationCallback(Protocol):
    """Told of everything in order, after it was recorded."""

    def started(self, record: TrialRecord) -> None:
        """A segment begins; `attempts` is 1 at a trial's first, and its params are those that the blackbox gave."""
        ...

    def reported(self, record: TrialRecord, *, stopped: bool) -> None:
        """`record.reports[-1]` is new. `stopped`: as `stops` has just said; the trial's end follows at once."""
        ...

    def ended(self, record: TrialRecord) -> None:
        """A segment is over: PAUSED, COMPLETE, PRUNED (by `stops`), FAIL, or WAITING after its worker died."""
        ...


class NoCallbacks:
    """Stops nothing and hears nothing."""

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
