"""Which configuration next, and for how long, as one object: the seam through which a real search, a simulated one and
a recording ask their questions. Implementations are pure: they keep nothing between two calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from search.experiment.domains import Value
from search.experiment.experiment import Experiment
from search.experiment.settings import FinalistSettings
from search.experiment.space import Space
from search.policy.finals import NO_FINALS
from search.policy.records import TrialRecord, searched
from search.policy.sampler import ask
from search.policy.scheduler import BudgetState, Job, Ladder, next_job


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial to add."""

    params: Mapping[str, Value]
    is_baseline: bool = False
    repetition: int = 0
    """Added to the configuration's seed: the same configuration once more, with another beginning and order."""
    fold: int | None = None
    """Number of the fold that validates; None: the study's own split."""


class Policy(Protocol):
    """Decides from records alone; whoever asks records the answer before asking again."""

    def next_job(self, trials: Sequence[TrialRecord], budget: BudgetState) -> Job:
        """What a free worker does."""
        ...

    def propose(self, trials: Sequence[TrialRecord]) -> Proposal:
        """The next new trial, asked for after a job of NewTrial."""
        ...

    def first_stop(self, trials: Sequence[TrialRecord], stage_count: int) -> int:
        """Number of the stage at which a new trial stops first; it is one of the trials already."""
        ...


@dataclass(frozen=True)
class SearchPolicy:
    """Trial 0 is the default recipe; the sampler proposes the others; the ladder says who goes on; then the finals."""

    space: Space
    baseline: Mapping[str, Value]
    ladder: Ladder
    sampler: str
    """As `ask` has it."""
    seed: int
    finalists: FinalistSettings = NO_FINALS

    def next_job(self, trials: Sequence[TrialRecord], budget: BudgetState) -> Job:
        """See `scheduler.next_job`."""
        return next_job(trials, self.ladder, budget, self.finalists)

    def propose(self, trials: Sequence[TrialRecord]) -> Proposal:
        """The baseline first. What is proposed does not depend on repeats between the trials."""
        number = len(searched(trials))
        if number == 0:
            return Proposal(dict(self.baseline), is_baseline=True)
        return Proposal(ask(self.space, trials, number=number, seed=self.seed, sampler=self.sampler))

    def first_stop(self, trials: Sequence[TrialRecord], stage_count: int) -> int:
        """The ladder's."""
        return self.ladder.as_of(trials).first_stop(stage_count)


def search_policy(experiment: Experiment) -> SearchPolicy:
    """The policy that an experiment file asks for."""
    settings = experiment.search
    return SearchPolicy(
        space=experiment.space,
        baseline=experiment.baseline,
        ladder=Ladder(
            settings.scheduler.reduction_factor,
            stopping=settings.scheduler.kind != "none",
            first_rung=settings.scheduler.first_rung - 1,
            adaptive=settings.scheduler.kind == "adaptive",
        ),
        sampler=settings.sampler,
        seed=settings.seed,
        finalists=settings.finalists,
    )
