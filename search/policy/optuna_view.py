"""Shows TPE the records as Optuna trials that it ranks in our order.

TPE reads all trials at each proposal. What a trial looks like to it depends on its record alone, except for privileged
trials, so that `OptunaView` converts each record once.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from heapq import nlargest
from itertools import islice
from typing import Any, Self, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from carcls.events import EpochReport, deciding_report
from search.experiment.domains import Value
from search.experiment.space import Space
from search.policy.records import Rank, TrialRecord, TrialState, searched
from search.policy.rungs import earned_rung, ordinary_trials

MOST_SEEN = 1000
"""Trials that TPE sees at most; the rest would cost a second of each proposal in a study of 10,000 trials."""
BEST_SEEN = 100
"""Of these, the best ones. TPE calls at most 25 trials good, so that leaving out others changes only its model of the
bad ones, in which it gives old trials little weight anyway (Optuna's `default_weights`)."""

_STAGE_STRIDE = 1_000_000
"""More epochs than any stage has. Steps of stage * stride + epoch sort by rung first and by epoch second."""

_TIE_WEIGHT = 1e-7
"""Weight of a rank's second part. One more correct photo among 100,000 outweighs any log-loss."""


_Order = tuple[int, float, float]
_Shown = tuple[FrozenTrial, _Order]


class SharedTrial(FrozenTrial):
    """A trial that an in-memory study takes as it is. Optuna copies every trial deeply, but replaces finished ones
    instead of changing them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        del memo
        return copy.copy(self)


def shared(trial: FrozenTrial) -> SharedTrial:
    """The trial, to be added to in-memory studies without a deep copy."""
    return SharedTrial(
        number=trial.number,
        trial_id=-1,  # given by the study
        state=trial.state,
        value=None,
        values=trial.values,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )


class OptunaView:
    """What TPE sees of a search over one space. It remembers converted records, which changes no result."""

    def __init__(self, space: Space, *, most: int = MOST_SEEN) -> None:
        self._space = space
        self._most = most
        self._converted: dict[int, tuple[TrialRecord, _Shown | None]] = {}

    def trials(self, trials: Sequence[TrialRecord]) -> list[FrozenTrial]:
        """The records as Optuna trials, in order of number; see `as_optuna_trials`."""
        ordinary = {trial.number: trial for trial in ordinary_trials(trials)}
        own = (trial for trial in searched(trials) if not trial.is_of_portfolio)
        shown = [one for trial in own if (one := self._shown(trial, ordinary)) is not None]
        return most_telling([one for one, _ in shown], self._most, orders=[order for _, order in shown])

    def _shown(self, trial: TrialRecord, ordinary: Mapping[int, TrialRecord]) -> _Shown | None:
        if trial.number not in ordinary:  # depends on the other trials
            alone = _as_optuna_trial(trial, ordinary, distributions(self._space, trial.params))
            return (alone, _order(alone)) if alone else None
        known = self._converted.get(trial.number)
        if known is not None and known[0] is trial:
            return known[1]
        shown = _as_optuna_trial(trial, ordinary, distributions(self._space, trial.params))
        self._converted[trial.number] = (trial, (shared(shown), _order(shown)) if shown else None)
        return self._converted[trial.number][1]


def distributions(space: Space, params: Mapping[str, Value]) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each given value. Values outside of their distribution are left out.

    Raises ValueError if the space asks for a parameter without a value.
    """
    replay = _Replay(params)
    space.suggest(replay)
    return replay.domains


def as_optuna_trials(space: Space, trials: Sequence[TrialRecord]) -> list[FrozenTrial]:
    """The records as Optuna trials that TPE ranks in our order.

    TPE ranks COMPLETE trials by value, then PRUNED ones by last step and its value, then those that violate a
    constraint; with constant_liar, RUNNING ones count as bad. Therefore:

    - a trial with an epoch, paused or running, is PRUNED; its steps sort by stage before epoch, since stages may end
      early;
    - a trial without an epoch is RUNNING;
    - an infeasible trial violates a constraint;
    - repeats, recipes of the portfolio, trials that failed for another reason and those with a value outside of its
      domain are left out.
    - of more than `MOST_SEEN` trials, those that say most are shown, see `most_telling`.
    """
    return OptunaView(space).trials(trials)


def most_telling(
    shown: Sequence[FrozenTrial], most: int = MOST_SEEN, *, orders: Sequence[_Order] | None = None
) -> list[FrozenTrial]:
    """At most `most` trials in their order: those still running, the best `BEST_SEEN`, and the latest others.

    More than `most` if more are running. orders: `_order` of each trial if it is known.
    """
    if len(shown) <= most:
        return list(shown)
    running = [at for at, trial in enumerate(shown) if trial.state is optuna.trial.TrialState.RUNNING]
    known = [_order(trial) for trial in shown] if orders is None else orders
    best = nlargest(BEST_SEEN, range(len(shown)), key=known.__getitem__)
    kept = {*running, *best}
    latest = (at for at in range(len(shown) - 1, -1, -1) if at not in kept)
    kept.update(islice(latest, max(0, most - len(kept))))
    return [shown[at] for at in sorted(kept)]


def _order(trial: FrozenTrial) -> _Order:
    """TPE's order, from worse to better."""
    if trial.state is optuna.trial.TrialState.COMPLETE:
        return (2, 0.0, cast(float, trial.value))
    step = trial.last_step
    if step is None:
        return (0, 0.0, 0.0)
    value = trial.intermediate_values[step]
    return (1, float(step), -math.inf if math.isnan(value) else value)


def _as_optuna_trial(
    trial: TrialRecord, ordinary: Mapping[int, TrialRecord], domains: dict[str, BaseDistribution]
) -> FrozenTrial | None:
    known: dict[str, Any] = {"params": dict(trial.params), "distributions": domains}
    if domains.keys() != trial.params.keys():
        return None
    if trial.infeasible:
        return create_trial(state=optuna.trial.TrialState.PRUNED, constraints={"infeasible": 1.0}, **known)
    if trial.state is TrialState.FAIL or (trial.state is TrialState.PRUNED and not trial.reports):  # told nothing
        return None
    if not trial.reports:
        return create_trial(state=optuna.trial.TrialState.RUNNING, **known)
    if trial.state is TrialState.COMPLETE and trial.best_rank and _completed_by_merit(trial, ordinary):
        return create_trial(state=optuna.trial.TrialState.COMPLETE, value=_score(trial.best_rank), **known)
    deepest = trial.stage_count if trial.number in ordinary else earned_rung(trial, tuple(ordinary.values()))
    steps = _steps(trial, trial.stage_count if deepest is None else deepest)
    return create_trial(state=optuna.trial.TrialState.PRUNED, intermediate_values=steps, **known)


def _completed_by_merit(trial: TrialRecord, ordinary: Mapping[int, TrialRecord]) -> bool:
    """True if a complete trial counts as such: it is ordinary, or better than an ordinary complete one."""
    if trial.number in ordinary:
        return True
    complete = (other.best_rank for other in ordinary.values() if other.state is TrialState.COMPLETE)
    return any(rank is not None and trial.best_rank is not None and rank < trial.best_rank for rank in complete)


def _steps(trial: TrialRecord, deepest: int) -> dict[int, float]:
    """Step to the stage's value so far, for stages up to `deepest`; NaN, TPE's worst, before the first finite epoch."""
    steps: dict[int, float] = {}
    deciding: dict[int, EpochReport | None] = {}
    for report in trial.reports:
        if report.stage > deepest:
            continue
        # Only the deciding epoch so far is compared with the new one, which keeps this linear in the epochs.
        before = deciding.get(report.stage)
        decides = deciding[report.stage] = deciding_report([before, report] if before else [report])
        stage, epoch = (report.stage + 1, 0) if report.stage_ended else (report.stage, report.stage_epoch)
        steps[stage * _STAGE_STRIDE + epoch] = _score(decides.rank) if decides else math.nan
    return steps


def _score(rank: Rank) -> float:
    first, tie_breaker = rank
    return first + _TIE_WEIGHT * tie_breaker


class _Replay:
    """Stands in for an Optuna trial: returns given values, and notes the distribution of each."""

    def __init__(self, params: Mapping[str, Value]) -> None:
        self._params = params
        self.domains: dict[str, BaseDistribution] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return cast(float, self._note(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return cast(int, self._note(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        return self._note(name, CategoricalDistribution(tuple(choices)))

    def _note(self, name: str, domain: BaseDistribution) -> Value:
        if name not in self._params:
            raise ValueError(f"no value for parameter {name}; the configuration has {', '.join(self._params)}")
        value = self._params[name]
        if _contains(domain, value):
            self.domains[name] = domain
        return value


def _contains(domain: BaseDistribution, value: Value) -> bool:
    if isinstance(domain, CategoricalDistribution):
        return value in domain.choices
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return domain._contains(domain.to_internal_repr(value))
