"""The dispatcher of a simulated search: trials in memory, curves from a blackbox, a budget in worker seconds."""

from dataclasses import dataclass

from carcls.events import EpochReport
from search.driver.dispatch import Dispatcher, Listener, Started
from search.experiment.search_settings import FinalistSettings
from search.policy import transitions
from search.policy.budget import is_used_up
from search.policy.finals import due_s
from search.policy.policy import Policy, Proposal
from search.policy.records import searched
from search.policy.scheduler import BudgetState, Repeat
from search.policy.trial_book import TrialBook
from search.simulator.blackboxes import Blackbox
from search.simulator.curves import Curve
from search.simulator.simulation import Decision, RecordedEpoch
from search.simulator.virtual_clock import VirtualClock


@dataclass(frozen=True, slots=True)
class VirtualSegment:
    """Part of a trial up to a rung, for a virtual worker."""

    number: int
    attempt: int
    stop_after_stage: int
    curve: Curve


class VirtualTrials(TrialBook):
    """The trials of a simulated search."""

    def add(self, curve: Curve, *, is_baseline: bool = False, repeats: int | None = None) -> int:
        """Add a WAITING trial that will train along a curve; returns its number."""
        number = len(self._records)
        self._put(
            transitions.new_trial(
                number, curve.params, stage_count=curve.stage_count, is_baseline=is_baseline, repeats=repeats
            )
        )
        return number

    def prune(self, number: int) -> None:
        """RUNNING or PAUSED -> PRUNED. Only the policies of other libraries do this."""
        self._change(transitions.pruned(self.record(number)))


class VirtualDispatcher(Dispatcher[VirtualSegment]):
    """Hands out the segments of a simulated search and records its history."""

    def __init__(
        self,
        trials: VirtualTrials,
        clock: VirtualClock[object],
        *,
        policy: Policy,
        blackbox: Blackbox,
        max_trials: int,
        seed: int,
        budget_s: float,
        finalists: FinalistSettings,
        max_restarts: int,
        listeners: tuple[Listener, ...] = (),
    ) -> None:
        """seed: seed of the blackbox's noise. budget_s: seconds of recorded epochs over all workers. finalists: those
        of the policy; the seconds that they will need are reserved."""
        super().__init__(trials, policy=policy, max_restarts=max_restarts, listeners=listeners)
        self._virtual = trials
        self._clock = clock
        self._blackbox = blackbox
        self._max_trials = max_trials
        self._seed = seed
        self._budget_s = budget_s
        self._finalists = finalists
        self._exhausted = False
        self._cost_s = 0.0
        self._curves: list[Curve] = []
        """Curves by trial number."""
        self._taken: set[int] = set()
        self.history: list[RecordedEpoch] = []
        self.decisions: list[Decision] = []

    def _budget(self) -> BudgetState:
        """An exhausted budget stays exhausted, even if the finals turn out to need less."""
        records = self._trials.records()
        reserve = due_s(records, self._finalists) / self._cost_s if self._cost_s else 0.0
        over = is_used_up(self._cost_s, self._budget_s, 0.0)
        self._exhausted = self._exhausted or over or is_used_up(self._cost_s, self._budget_s, reserve)
        trials_left = max(0, self._max_trials - len(searched(records)))
        return BudgetState(trials_left, exhausted=self._exhausted, finals_exhausted=over)

    def _add(self, new: Proposal) -> int:
        return self._virtual.add(self._train(new), is_baseline=new.is_baseline)

    def _add_repeat(self, job: Repeat) -> int:
        params = self._trials.record(job.number).params
        return self._virtual.add(self._train(Proposal(params, repetition=job.repetition)), repeats=job.number)

    def _train(self, proposal: Proposal) -> Curve:
        training = self._blackbox.train(proposal, taken=self._taken, seed=self._seed)
        if training.row is not None:
            self._taken.add(training.row)
        self._curves.append(training.curve)
        return training.curve

    def _segment(self, started: Started) -> VirtualSegment:
        number, stop = started.number, started.stop_after_stage
        self.decisions.append(Decision(self._clock.now_s, started.job, number, stop))
        return VirtualSegment(number, started.attempt, stop, self._curves[number])

    def _after_report(self, number: int, report: EpochReport) -> None:
        self._cost_s += report.seconds.total
        self.history.append(RecordedEpoch(self._clock.now_s, self._cost_s, number, report.epoch))

    def prune(self, number: int) -> None:
        """End a running trial early, as the policy of another library decided."""
        self._virtual.prune(number)
        for listener in self._listeners:
            listener.ended(number)
