"""What a simulated search came to, and what it would have answered at any earlier cost."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from carcls.events import EpochReport, is_finite
from search.policy.records import Rank, TrialRecord, TrialState, searched
from search.policy.scheduler import Continue, NewTrial, Repeat


@dataclass(frozen=True, slots=True)
class Decision:
    """A job that was begun."""

    time_s: float
    job: NewTrial | Continue | Repeat
    number: int
    """The trial; of a new one or a repeat, the number that it got."""
    stop_after_stage: int


@dataclass(frozen=True, slots=True)
class Moment:
    """A recorded report."""

    time_s: float
    """Virtual wall clock since the search began."""
    cost_s: float
    """Seconds of all recorded epochs of all trials up to this one, itself included: what the budget counts."""
    number: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Winner:
    """Whom the search would choose, and what is known of it."""

    number: int
    epoch: int
    """Its best by validation so far."""
    val_accuracy: float
    holdout_accuracy: float
    """Of that epoch, on what no policy saw."""
    at_full_fidelity: bool
    """False: no trial had been trained to its end."""


@dataclass(frozen=True)
class Simulation:
    """One whole search."""

    records: tuple[TrialRecord, ...]
    """After the search was finished: nothing is PAUSED, WAITING or RUNNING."""
    history: tuple[Moment, ...]
    """One for each report, in the order in which they were recorded."""
    decisions: tuple[Decision, ...]
    """In the order in which they were made."""
    lost_s: float
    """Worker seconds of epochs that came to nothing: killed or infeasible. No part of the cost."""

    @property
    def cost_s(self) -> float:
        """Seconds of all recorded epochs."""
        return self.history[-1].cost_s if self.history else 0.0

    @property
    def finished(self) -> int:
        """Trials that were trained to their end, without repeats."""
        return sum(record.state is TrialState.COMPLETE for record in searched(self.records))

    def winner_at(self, cost_s: float) -> Winner | None:
        """The choice after all reports up to that cost; None without a finite one.

        The best by validation among trials trained to their end, or among all before there is one; ties by log-loss,
        then by lower number. The finals have no say in it: `final_standing` has, over the records.
        """
        reports = bisect_right(self.history, cost_s, key=lambda moment: moment.cost_s)
        return self._winners[reports - 1] if reports else None

    @property
    def winner(self) -> Winner | None:
        """The choice at the end."""
        return self._winners[-1] if self._winners else None

    @property
    def last_improvement(self) -> Moment | None:
        """When the choice changed for the last time."""
        for at in range(len(self.history) - 1, -1, -1):
            if at == 0 or self._winners[at] != self._winners[at - 1]:
                return self.history[at]
        return None

    @cached_property
    def _winners(self) -> Sequence[Winner | None]:
        """The choice after each report."""
        tally = _Tally()
        winners = []
        for moment in self.history:
            record = self.records[moment.number]
            if record.repeats is None:
                tally.count(record, record.reports[moment.epoch - 1])
            winners.append(tally.winner())
        return winners


class _Tally:
    """The best so far, among all trials and among those at their end."""

    def __init__(self) -> None:
        self._best: dict[int, EpochReport] = {}
        self._of_all: tuple[Rank, int] | None = None
        self._of_full: tuple[Rank, int] | None = None

    def count(self, record: TrialRecord, report: EpochReport) -> None:
        best = self._best.get(record.number)
        if report.kept_epoch is not None:
            best = self._best[record.number] = record.reports[report.kept_epoch - 1]
        elif is_finite(report) and (best is None or report.rank > best.rank):
            best = self._best[record.number] = report
        if best is None:
            return
        standing = (best.rank, -record.number)
        self._of_all = max(self._of_all or standing, standing)
        if report.stage_ended and report.stage == record.stage_count - 1:
            self._of_full = max(self._of_full or standing, standing)

    def winner(self) -> Winner | None:
        leader = self._of_full or self._of_all
        if leader is None:
            return None
        number = -leader[1]
        best = self._best[number]
        return Winner(
            number=number,
            epoch=best.epoch,
            val_accuracy=best.val_accuracy,
            holdout_accuracy=float("nan") if best.holdout_accuracy is None else best.holdout_accuracy,
            at_full_fidelity=self._of_full is not None,
        )
