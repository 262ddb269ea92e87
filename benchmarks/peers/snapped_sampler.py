"""An Optuna sampler whose answers are what a blackbox can train: a proposal, moved to the nearest recorded row."""

from collections.abc import Iterable
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from search.experiment.domains import Value
from search.experiment.space import Space
from search.policy.policy import Proposal
from search.simulator.blackboxes import Blackbox


class SnappedSampler(BaseSampler):
    """Asks another sampler for all parameters at once, and the blackbox which configuration that is.

    So the study holds the values that were trained, not those that were proposed. No row is handed out twice. Where a
    blackbox has no rows, the answers are the other sampler's own.
    """

    def __init__(self, inner: BaseSampler, blackbox: Blackbox, *, seed: int, taken: Iterable[int] = ()) -> None:
        """`seed`: the simulated search's. `taken`: rows that are not its to give, such as an enqueued one's."""
        self._inner = inner
        self._blackbox = blackbox
        self._seed = seed
        self._taken = set(taken)
        self._domains = all_distributions(blackbox.space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters: a row answers them together, from the first trial on."""
        del study, trial
        return self._domains

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The row's values, of all its active parameters."""
        proposal = Proposal(self._propose(study, trial, search_space))
        training = self._blackbox.train(proposal, taken=self._taken, seed=self._seed)
        if training.row is not None:
            self._taken.add(training.row)
        return dict(training.curve.params)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Value:
        """Raises ValueError: a parameter is asked for alone only if the blackbox's space does not have it."""
        raise ValueError(
            f"trial {trial.number}: {param_name} is no parameter of its row; ask for what the blackbox's space holds"
        )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """The other sampler's."""
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:  # noqa: ANN401 - Optuna's own type is a sequence or None
        """The other sampler's."""
        self._inner.after_trial(study, trial, state, values)

    def _propose(self, study: Study, trial: FrozenTrial, domains: dict[str, BaseDistribution]) -> dict[str, Value]:
        """As Optuna asks: together what the sampler knows, one by one what it does not."""
        known = self._inner.infer_relative_search_space(study, trial)
        together = self._inner.sample_relative(study, trial, known)

        def value(name: str) -> Value:
            asked = name not in together
            answer: Value = (
                self._inner.sample_independent(study, trial, name, domains[name]) if asked else together[name]
            )
            return answer

        return self._blackbox.space.collect(lambda parameter: value(parameter.name))


def all_distributions(space: Space) -> dict[str, BaseDistribution]:
    """Optuna's domain of each parameter, those of every option included."""
    trial = FixedTrial({name: domain.default() for name, domain in space.domains.items()})
    for name, domain in space.domains.items():
        domain.suggest(trial, name)
    return trial.distributions
