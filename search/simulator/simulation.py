"""The result of a simulated search, at its end and at any earlier cost."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from carcls.events import EpochReport, is_finite
from search.policy.records import Rank, TrialRecord, TrialState, searched
from search.policy.scheduler import Continue, NewTrial, Repeat


@dataclass(frozen=True, slots=True)
class Decision:
    """A job that was started."""

    time_s: float
    job: NewTrial | Continue | Repeat
    number: int
    """Number of the trial; for a new one or a repeat, the number that it got."""
    stop_after_stage: int


@dataclass(frozen=True, slots=True)
class RecordedEpoch:
    """One epoch in the history of a simulation."""

    time_s: float
    """Virtual wall-clock seconds since the search started."""
    cost_s: float
    """Seconds of all recorded epochs of all trials up to and including this one, as the budget counts them."""
    number: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Winner:
    """The trial that the search would choose."""

    number: int
    epoch: int
    """The trial's best epoch by validation so far."""
    val_accuracy: float
    holdout_accuracy: float
    """Accuracy of that epoch on photos that no policy has seen."""
    at_full_fidelity: bool
    """False if no trial had been trained to its end yet."""


@dataclass(frozen=True)
class Simulation:
    """A whole search."""

    records: tuple[TrialRecord, ...]
    """Trials after the search was finished: none is PAUSED, WAITING or RUNNING."""
    history: tuple[RecordedEpoch, ...]
    """One entry per report, in the order of recording."""
    decisions: tuple[Decision, ...]
    """In the order in which they were made."""
    lost_s: float
    """Worker seconds of killed or infeasible epochs. They are not part of the cost."""

    @property
    def cost_s(self) -> float:
        """Total seconds of all recorded epochs."""
        return self.history[-1].cost_s if self.history else 0.0

    @property
    def finished(self) -> int:
        """Number of trials trained to their end, without repeats."""
        return sum(record.state is TrialState.COMPLETE for record in searched(self.records))

    def winner_at(self, cost_s: float) -> Winner | None:
        """The winner after all reports up to that cost; None without a finite one.

        It is the best trial by validation among those trained to their end, or among all before there is one. Ties go
        to the smaller log-loss, then to the lower number. The finals have no influence; see `final_standing` for their
        result.
        """
        reports = bisect_right(self.history, cost_s, key=lambda entry: entry.cost_s)
        return self._winners[reports - 1] if reports else None

    @property
    def winner(self) -> Winner | None:
        """The winner at the end."""
        return self._winners[-1] if self._winners else None

    @property
    def last_improvement(self) -> RecordedEpoch | None:
        """The epoch at which the winner last changed, or None."""
        for at in range(len(self.history) - 1, -1, -1):
            if at == 0 or self._winners[at] != self._winners[at - 1]:
                return self.history[at]
        return None

    @cached_property
    def _winners(self) -> Sequence[Winner | None]:
        """The winner after each report."""
        tally = _Tally()
        winners = []
        for entry in self.history:
            record = self.records[entry.number]
            if record.repeats is None:
                tally.count(record, record.reports[entry.epoch - 1])
            winners.append(tally.winner())
        return winners


class _Tally:
    """Tracks the best trial so far, among all trials and among those trained to their end."""

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
