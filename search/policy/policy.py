"""The policy: which configuration to train next, and for how long. Real searches, simulations and recordings use it.

Implementations are pure: they keep no state between calls that changes a decision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from carcls.config import TrainConfig
from search.experiment.domains import Value
from search.experiment.experiment import Experiment
from search.experiment.portfolio import Recipe
from search.experiment.search_settings import FinalistSettings
from search.experiment.space import Space
from search.policy.finals import NO_FINALS
from search.policy.optuna_view import OptunaView
from search.policy.records import PORTFOLIO, TrialRecord, searched
from search.policy.sampler import ask
from search.policy.scheduler import BudgetState, Job, Ladder, next_job


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial to add."""

    params: Mapping[str, Value]
    is_baseline: bool = False
    repetition: int = 0
    """Added to the configuration's seed: a repetition has another initialisation and order of photos."""
    fold: int | None = None
    """Number of the fold that validates; None for the study's own split."""
    config: TrainConfig | None = None
    """The configuration itself, if it is not a point of the space; `params` then only names it."""


class Policy(Protocol):
    """Decides from records alone. The caller records each decision before it asks again."""

    def next_job(self, trials: Sequence[TrialRecord], budget: BudgetState) -> Job:
        """The job of a free worker."""
        ...

    def propose(self, trials: Sequence[TrialRecord]) -> Proposal:
        """The next new trial. Called after `next_job` has returned NewTrial."""
        ...

    def first_stop(self, trials: Sequence[TrialRecord], stage_count: int) -> int:
        """Number of the stage after which a new trial first stops. `trials` includes the new trial."""
        ...


@dataclass(frozen=True)
class SearchPolicy:
    """Trial 0 is the default recipe, and the sampler proposes the others. The ladder decides which trials continue. The
    finals come last."""

    space: Space
    baseline: Mapping[str, Value]
    ladder: Ladder
    sampler: str
    """Name of the sampler, see `ask`."""
    seed: int
    finalists: FinalistSettings = NO_FINALS
    portfolio: tuple[Recipe, ...] = ()
    """Proposed after the baseline, in order."""
    others: tuple[Mapping[str, Value], ...] = ()
    """Points of the space that are proposed after the portfolio, see `other_backbones`."""

    def next_job(self, trials: Sequence[TrialRecord], budget: BudgetState) -> Job:
        """See `scheduler.next_job`."""
        return next_job(trials, self.ladder, budget, self.finalists)

    def propose(self, trials: Sequence[TrialRecord]) -> Proposal:
        """The baseline first, then the portfolio and the other backbones. Repeats have no influence on the proposals;
        trials that the user added take no place in their order."""
        number = sum(trial.request is None for trial in searched(trials))
        if number == 0:
            return Proposal(dict(self.baseline), is_baseline=True)
        if number <= len(self.portfolio):
            recipe = self.portfolio[number - 1]
            return Proposal({PORTFOLIO: recipe.name}, config=recipe.config)
        for params in self.others:
            if not any(trial.params == params for trial in trials):
                return Proposal(dict(params))
        view = self._view
        return Proposal(ask(self.space, trials, number=number, seed=self.seed, sampler=self.sampler, view=view))

    @cached_property
    def _view(self) -> OptunaView:
        return OptunaView(self.space)

    def first_stop(self, trials: Sequence[TrialRecord], stage_count: int) -> int:
        """See `Ladder.first_stop`."""
        return self.ladder.as_of(trials).first_stop(stage_count)


def search_policy(
    experiment: Experiment, portfolio: tuple[Recipe, ...] = (), *, others: tuple[Mapping[str, Value], ...] = ()
) -> SearchPolicy:
    """The policy of an experiment file. portfolio: the recipes that the study keeps. others: see `SearchPolicy`."""
    settings = experiment.search
    return SearchPolicy(
        space=experiment.space,
        baseline=experiment.baseline,
        ladder=Ladder(
            settings.scheduler.reduction_factor,
            prunes=settings.scheduler.kind != "none",
            first_rung=settings.scheduler.first_rung - 1,
            adaptive=settings.scheduler.kind == "adaptive",
        ),
        sampler=settings.sampler,
        seed=settings.seed,
        finalists=settings.finalists,
        portfolio=portfolio,
        others=others,
    )
